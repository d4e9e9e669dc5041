// Goes on with a text, token by token.
//   generate --model gpt2 --prompt "The dog was found in" --temperature 0.8 --top-p 0.95
#include "eigenformer/pipelines/text_generation.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

int main(int argc, char** argv) {
  Program program("Goes on with a text, token by token.");
  CLI::App& app = program.app;
  std::string prompt;
  ef::TextGenerationOptions options;
  ef::SamplingOptions& sampling = options.generation.sampling;
  app.get_option("text")->description("texts to go on with");
  app.get_option("--max-length")
      ->description("truncate the text to go on with to this many tokens");
  app.add_option("--prompt", prompt, "a text to go on with")->excludes("text", "--input");
  app.add_option("--max-new-tokens", options.generation.max_new_tokens, "tokens to add at most")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--temperature", sampling.temperature,
                 "draw tokens; 1: as likely as the model says; 0: take the most likely one")
      ->check(CLI::NonNegativeNumber)
      ->default_str("1 where another option is about drawing, else 0");
  app.add_option("--top-k", sampling.top_k, "draw from this many of the most likely; 0: from all")
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--top-p", sampling.top_p,
                 "draw from the most likely of this probability together")
      ->check(CLI::Range(1e-9, 1.0));
  app.add_option("--seed", sampling.seed, "of what is drawn");
  app.add_option("--repetition-penalty", sampling.repetition_penalty,
                 "above 1: tokens of the text so far become less likely")
      ->check(CLI::PositiveNumber);
  app.add_option("--stop", options.stop_strings, "end a text with these words (repeatable)");
  return program.run(argc, argv, [&] {
    if (app.count("--temperature") == 0 &&
        app.count("--top-k") + app.count("--top-p") + app.count("--seed") > 0) {
      sampling.temperature = 1;
    }
    program.with_scalar([&]<class Scalar>() {
      auto generate = ef::BasicTextGeneration<Scalar>::from_pretrained(
          program.model, program.context(), program.precision());
      const ef::Index most = generate.model().config().max_tokens();
      const auto go_on = [&](const std::string& text) {
        const auto encoding = program.encode(generate.tokenizer(), {1, text, text, {}}, most);
        if (!program.json) std::printf("%s", generate.tokenizer().decode(encoding.ids).c_str());
        const auto made = generate(encoding, options, [&](std::string_view piece) {
          if (program.json) return;
          std::printf("%.*s", static_cast<int>(piece.size()), piece.data());
          std::fflush(stdout);
        });
        if (program.json)
          Program::print({{"text", made.text}, {"ids", made.ids}});
        else
          std::printf("\n");
      };
      if (app.count("--prompt") > 0) return go_on(prompt);
      program.for_each_line([&](const Line& line) { go_on(line.input); });
    });
  });
}
