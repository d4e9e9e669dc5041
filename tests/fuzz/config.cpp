// config.json: what is taken can be written, and what is written is taken unchanged.
#include <string>

#include "eigenformer/models/gpt2_config.hpp"
#include "eigenformer/models/roberta_config.hpp"

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_config("config", [](std::string_view input) {
  passes([&] {
    const std::string source = "config.json";
    const auto config = RobertaConfig::from_json(parse_json(input, source), source);
    const Json saved = config.to_json();
    const auto again = RobertaConfig::from_json(parse_json(saved.dump(), source), source);
    expect(again.to_json() == saved, "a saved configuration stays as it is");
    expect(config.head_size() >= 1, "heads have features");
    passes([&] { (void)config.max_tokens(); });
    passes([&] { (void)config.labels(); });
    (void)config.label(0);
    (void)config.unknown_keys();
  });
  passes([&] {
    const std::string source = "config.json";
    const auto config = GPT2Config::from_json(parse_json(input, source), source);
    const Json saved = config.to_json();
    const auto again = GPT2Config::from_json(parse_json(saved.dump(), source), source);
    expect(again.to_json() == saved, "a saved configuration of GPT-2 stays as it is");
    expect(config.n_embd / config.n_head >= 1, "heads have features");
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
