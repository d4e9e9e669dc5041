// tokenizer.json: a tokenizer that is taken encodes and decodes.
#include <string>
#include <vector>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "encodings.hpp"
#include "fuzz.hpp"

using namespace eigenformer;
using namespace eigenformer::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  passes([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(as_text(data, size));
    for (const std::string_view text :
         {"", " ab  abc<s>\xC3\xA9 ", "</s>a\xFF\xE2\x82", "aaaab\n"}) {
      passes([&] { check_text(tokenizer, text, {}, {}); });
      passes([&] { check_text(tokenizer, text, "ba b", {.max_length = 5, .stride = 1}); });
      passes([&] { check_text(tokenizer, text, {}, {.encode_special_tokens = true}); });
    }
    for (TokenId id = 0; id < 300; ++id) (void)tokenizer.decode({id, id});
    passes([&] { (void)tokenizer.mask_token_id(); });
  });
  return 0;
}
