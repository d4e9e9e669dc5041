// spiece.model and its companions, in the order of `names`; refused where this program was built
// without the sentencepiece library.
#ifdef EIGENFORMER_HAS_SENTENCEPIECE
#include "eigenformer/tokenizers/sentencepiece.hpp"
#endif
#include <string>
#include <vector>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "encodings.hpp"
#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_sentencepiece("sentencepiece", [](std::string_view input) {
  static const Folder folder;
  static const std::vector<std::string> names = {"spiece.model", "tokenizer_config.json",
                                                 "special_tokens_map.json", "added_tokens.json"};
  const auto parts = split(input);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i < parts.size() && (i == 0 || !parts[i].empty()))
      folder.write(names[i], parts[i]);
    else
      folder.remove(names[i]);
  }
  passes([&] {
    const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
    for (const std::string_view text : {"", " ab  (c)[SEP]\xC3\xA9 ", "[MASK]a\xFF"}) {
      passes([&] { check_text(tokenizer, text, {}, {}); });
      passes([&] { check_text(tokenizer, text, "ba b", {.max_length = 6}); });
    }
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
