// Turns text into the tokens that a model sees.
//   tokenize "Let there be <mask>: and there was light."
#include <limits>
#include <string>
#include <utility>

#include "eigenformer/models/encoder_config.hpp"
#include "eigenformer/tokenizers.hpp"

#include "common.hpp"

namespace ef = eigenformer;
using examples::Line;
using examples::Program;

namespace {

/// How many tokens the model takes, as its config.json says.
ef::Index longest_text(const std::string& folder) {
  const auto [config, path] = ef::read_config(folder);
  const std::string type = config.value("model_type", "roberta");
  if (ef::find_family(type) != nullptr) {
    return ef::EncoderConfig::from_json(config, path).max_tokens();
  }
  for (const char* key : {"max_position_embeddings", "n_positions"}) {
    if (config.contains(key)) return config[key].get<ef::Index>();
  }
  return std::numeric_limits<ef::Index>::max();
}

void print_readable(const ef::Tokenizer& tokenizer, const Line& line,
                    const ef::Encoding& encoding) {
  std::printf("%s\n", line.input.c_str());
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const ef::ByteSpan span = encoding.offsets[i];
    const std::string token(tokenizer.id_to_token(encoding.ids[i]));
    std::printf("  %6d  %-16s", encoding.ids[i], token.c_str());
    if (encoding.special_tokens_mask[i] == 0) std::printf("  bytes %u to %u", span.begin, span.end);
    std::printf("\n");
  }
}

ef::Json to_json(const ef::Tokenizer& tokenizer, const ef::Encoding& encoding) {
  ef::Json tokens = ef::Json::array();
  ef::Json offsets = ef::Json::array();
  for (const ef::TokenId id : encoding.ids) tokens.push_back(tokenizer.id_to_token(id));
  for (const ef::ByteSpan span : encoding.offsets) offsets.push_back({span.begin, span.end});
  return {{"ids", encoding.ids},
          {"tokens", std::move(tokens)},
          {"type_ids", encoding.type_ids},
          {"special", encoding.special_tokens_mask},
          {"offsets", std::move(offsets)}};
}

}  // namespace

int main(int argc, char** argv) {
  Program program("Turns text into the tokens that a model sees.");
  return program.run(argc, argv, [&] {
    const ef::Tokenizer tokenizer = ef::Tokenizer::from_pretrained(ef::folder_of(program.model));
    const ef::Index most = longest_text(program.model);
    program.for_each_line([&](const Line& line) {
      const ef::Encoding encoding = program.encode(tokenizer, line, most);
      if (program.json)
        Program::print(to_json(tokenizer, encoding));
      else
        print_readable(tokenizer, line, encoding);
    });
  });
}
