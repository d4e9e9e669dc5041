// vocab.json, merges.txt and their companions, in the order of `names`.
#include <string>
#include <vector>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "encodings.hpp"
#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_vocabulary("vocabulary", [](std::string_view input) {
  static const Folder folder;
  static const std::vector<std::string> names = {"vocab.json", "merges.txt",
                                                 "tokenizer_config.json", "special_tokens_map.json",
                                                 "added_tokens.json"};
  const auto parts = split(input);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i < parts.size() && (i < 2 || !parts[i].empty()))
      folder.write(names[i], parts[i]);
    else
      folder.remove(names[i]);
  }
  passes([&] {
    const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
    for (const std::string_view text : {"", " ab  abc<s>\xC3\xA9 ", "<mask>a\xFF"}) {
      passes([&] { check_text(tokenizer, text, {}, {}); });
      passes([&] { check_text(tokenizer, text, "ba b", {.max_length = 6}); });
    }
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
