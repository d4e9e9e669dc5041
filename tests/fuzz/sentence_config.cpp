// The files of sentence-transformers beside a model, in the order of `names`.
#include "eigenformer/pipelines/sentence_config.hpp"

#include <string>

#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_sentence_config("sentence_config", [](std::string_view input) {
  static const Folder folder;
  static const std::vector<std::string> names = {
      "modules.json",          "1_Pooling/config.json",
      "2_Dense/config.json",   "sentence_bert_config.json",
      "tokenizer_config.json", "config_sentence_transformers.json"};
  static const bool made = std::filesystem::create_directory(folder / "1_Pooling") &&
                           std::filesystem::create_directory(folder / "2_Dense");
  expect(made, "folders can be made");
  const auto parts = split(input);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i < parts.size() && !parts[i].empty())
      folder.write(names[i], parts[i]);
    else
      folder.remove(names[i]);
  }
  passes([&] {
    const auto config = SentenceConfig::from_pretrained(folder.path());
    expect(!config.pooling.empty(), "there is a pooling mode");
    expect(config.max_seq_length.value_or(1) >= 1, "texts may be cut to some tokens");
    for (const SentenceModule& module : config.modules) {
      expect(module.normalizes() || (module.in >= 1 && module.out >= 1), "a Dense has sizes");
    }
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
