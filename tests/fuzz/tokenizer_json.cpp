// tokenizer.json: a tokenizer that is taken encodes and decodes.
#include <string>
#include <vector>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "encodings.hpp"
#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

const Target target_tokenizer_json("tokenizer_json", [](std::string_view input) {
  passes([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(input);
    for (const std::string_view text :
         {"", " ab  abc<s>\xC3\xA9 ", "</s>a\xFF\xE2\x82", "aaaab\n"}) {
      passes([&] { check_text(tokenizer, text, {}, {}); });
      passes([&] { check_text(tokenizer, text, "ba b", {.max_length = 5, .stride = 1}); });
      passes([&] { check_text(tokenizer, text, {}, {.encode_special_tokens = true}); });
    }
    for (TokenId id = 0; id < 300; ++id) (void)tokenizer.decode({id, id});
    passes([&] { (void)tokenizer.mask_token_id(); });
  });
});

}  // namespace
}  // namespace eigenformer::fuzz
