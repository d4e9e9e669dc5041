// Fills in <mask> with the most likely tokens.
//   fill_mask "In the beginning God created the <mask> and the earth."
#include "eigenformer/pipelines/fill_mask.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

void print_readable(const Line& line, const std::vector<std::vector<ef::MaskGuess>>& masks) {
  std::printf("%s\n", line.input.c_str());
  for (std::size_t i = 0; i < masks.size(); ++i) {
    if (masks.size() > 1) std::printf("  mask %zu\n", i + 1);
    for (const ef::MaskGuess& guess : masks[i]) {
      examples::print_probability(guess.score, guess.token);
    }
  }
}

ef::Json to_json(const Line& line, const std::vector<std::vector<ef::MaskGuess>>& masks) {
  ef::Json json{{"text", line.input}, {"masks", ef::Json::array()}};
  for (const auto& guesses : masks) {
    ef::Json list = ef::Json::array();
    for (const ef::MaskGuess& guess : guesses) {
      list.push_back({{"token", guess.token}, {"id", guess.id}, {"score", guess.score}});
    }
    json["masks"].push_back(std::move(list));
  }
  return json;
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Fills in <mask> with the most likely tokens.");
  ef::FillMaskOptions options;
  program.app.add_option("--top", options.top_k, "guesses for each mask")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  program.app.add_option("--target", options.targets, "consider only this token (repeatable)");
  return program.run(argc, argv, [&] {
    program.with_scalar([&]<class Scalar>() {
      auto fill = ef::BasicFillMask<Scalar>::from_pretrained(program.model, program.context(),
                                                             program.precision());
      const ef::Index most = fill.model().config().max_tokens();
      program.for_each_line([&](const Line& line) {
        const auto masks = fill.all(program.encode(fill.tokenizer(), line, most), options);
        if (program.json)
          Program::print(to_json(line, masks));
        else
          print_readable(line, masks);
      });
    });
  });
}
