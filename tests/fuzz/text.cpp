// Any text, or pair of texts, through tokenizers of every kind with every option.
#include <string>
#include <vector>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "encodings.hpp"
#include "fuzz.hpp"

namespace eigenformer::fuzz {
namespace {

/// The one that ships, a small one, and those of the tests with odd stages.
const std::vector<Tokenizer>& tokenizers() {
  static const std::vector<Tokenizer> all = [] {
    std::vector<Tokenizer> made;
    made.push_back(Tokenizer::from_pretrained(EIGENFORMER_EXAMPLES "/model"));
    made.push_back(Tokenizer::from_pretrained(EIGENFORMER_FIXTURES "/sentences/encoder"));
    const Json toys = read_json(EIGENFORMER_FIXTURES "/tokenizers/toys.json");
    for (const Json& toy : toys) {
      passes([&] { made.push_back(Tokenizer::from_json(toy.dump())); });
    }
    return made;
  }();
  return all;
}

const Target target_text("text", [](std::string_view input) {
  Numbers numbers(input);
  const auto& tokenizer =
      tokenizers()[static_cast<std::size_t>(numbers.below(static_cast<int>(tokenizers().size())))];
  const EncodeOptions options{
      .add_special_tokens = numbers.flag(),
      .max_length = numbers.below(20),
      .stride = numbers.below(8),
      .strategy = static_cast<TruncationStrategy>(numbers.below(3)),
      .direction = static_cast<TruncationDirection>(numbers.below(2)),
      .encode_special_tokens = numbers.flag(),
  };
  const auto parts = split(numbers.rest());
  passes([&] {
    check_text(tokenizer, parts[0], parts.size() > 1 ? std::optional(parts[1]) : std::nullopt,
               options);
  });

  // As the model that ships needs no unknown token, its tokens spell the text.
  const Tokenizer& whole = tokenizers().front();
  const std::string_view text = parts[0];
  const Encoding encoding = whole.encode(text, {.encode_special_tokens = true});
  expect(whole.decode(encoding.ids) == detail::repair(text).text, "decoding gives the text back");

  std::vector<TokenId> ids;
  for (std::size_t i = 0; i + sizeof(TokenId) <= text.size(); i += sizeof(TokenId)) {
    std::memcpy(&ids.emplace_back(), text.data() + i, sizeof(TokenId));
  }
  passes([&] { (void)tokenizer.decode(ids); });
});

}  // namespace
}  // namespace eigenformer::fuzz
