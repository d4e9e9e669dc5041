// What must hold for whatever a tokenizer makes of any text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "eigenformer/tokenizers/tokenizer.hpp"

#include "fuzz.hpp"

namespace eigenformer::fuzz {

inline void check_encoding(const Encoding& encoding, std::string_view text, std::string_view pair,
                           const EncodeOptions& options) {
  const std::size_t size = encoding.ids.size();
  expect(encoding.offsets.size() == size && encoding.type_ids.size() == size &&
             encoding.special_tokens_mask.size() == size && encoding.word_ids.size() == size &&
             encoding.sequence_ids.size() == size,
         "all vectors have one length");
  for (std::size_t i = 0; i < size; ++i) {
    const ByteSpan span = encoding.offsets[i];
    if (encoding.sequence_ids[i] < 0) {
      expect(span == ByteSpan{}, "the template's tokens have no place");
      continue;
    }
    const std::string_view own = encoding.sequence_ids[i] == 0 ? text : pair;
    expect(span.begin <= span.end && span.end <= own.size(), "offsets lie in the text");
    if (detail::valid_prefix(own) != own.size()) continue;
    const auto at_character = [&](std::size_t at) {
      return at == own.size() || (static_cast<unsigned char>(own[at]) & 0xC0) != 0x80;
    };
    expect(at_character(span.begin) && at_character(span.end), "offsets are whole characters");
  }
  for (const Encoding& window : encoding.overflowing) {
    check_encoding(window, text, pair, options);
  }
}

/// Encodes the text, and the pair if there is one, decodes the tokens, and compares the batch.
inline void check_text(const Tokenizer& tokenizer, std::string_view text,
                       std::optional<std::string_view> pair, const EncodeOptions& options) {
  const Encoding encoding =
      pair ? tokenizer.encode(text, *pair, options) : tokenizer.encode(text, options);
  check_encoding(encoding, text, pair.value_or(std::string_view()), options);
  if (options.max_length > 0) {
    expect(encoding.size() <= options.max_length, "truncation keeps to max_length");
  }
  for (const bool skips : {false, true}) {
    const std::string decoded = tokenizer.decode(encoding.ids, skips);
    expect(detail::valid_prefix(decoded) == decoded.size(), "decoded text is UTF-8");
  }
  const TextPair both(text, pair.value_or(std::string_view()));
  const Batch batch =
      pair ? tokenizer.encode_batch({both}, options) : tokenizer.encode_batch({text}, options);
  batch.validate();
  expect(batch.ids == encoding.ids, "a batch holds what the encoding does");
}

}  // namespace eigenformer::fuzz
