// What encoding keeps from word to word and, where the caller wants it, from call to call.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/hash_tables.hpp"
#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer {
namespace detail {

/// The tokens of short words, each in the one place that its hash gives: the latest word wins, so
/// that the size is bounded.
class WordMemory {
 public:
  static constexpr std::size_t max_pieces = 8;
  static constexpr std::size_t max_words = 1 << 15;

  struct Entry {
    ShortWord word;
    std::uint8_t count = 0;
    std::array<std::uint8_t, max_pieces> ends{};  // of each piece, in bytes of the word
    std::array<TokenId, max_pieces> ids{};
  };

  /// Room for about `words` words, at most `max_words`.
  void reserve(std::size_t words) {
    const std::size_t wanted = std::bit_ceil(std::min(words, max_words));
    if (wanted <= entries_.size()) return;
    entries_.assign(wanted, Entry{});
    shift_ = 64 - std::countr_zero(wanted);
  }

  void clear() { entries_.clear(); }

  /// Where the word is, or would be: there if its `word` is equal. Null where there is no room.
  [[nodiscard]] Entry* at(std::uint64_t hash) noexcept {
    return entries_.empty() ? nullptr : &entries_[hash >> shift_];
  }

 private:
  std::vector<Entry> entries_;
  int shift_ = 0;
};

/// A token of a text, before the template adds its own.
struct Token {
  TokenId id;
  ByteSpan span;
  std::int32_t word;
};

struct TextTokens {
  /// White space at the ends of an added token, in characters: part of its span until it is
  /// trimmed.
  struct Added {
    std::size_t index;
    std::uint32_t leading;
    std::uint32_t trailing;
  };

  std::string_view text;  ///< valid UTF-8, which spans count in
  RepairedText repaired;  ///< `text`, where the input was not valid
  std::vector<Token> tokens;
  std::vector<Added> added;

  void clear() {
    repaired.text.clear();
    repaired.origin.clear();
    tokens.clear();
    added.clear();
  }
};

struct EncodeMemory {
  std::shared_ptr<const TokenModel> owner;  // whose words these are
  WordMemory words;
  ModelScratch scratch;
  std::vector<Piece> pieces;
  TextTokens first;
  TextTokens second;
};

}  // namespace detail

/// Memory that encoding may keep from call to call: words already seen, and buffers. Its size is
/// bounded by the longest text and 32,768 words. One thread at a time; not needed for encode_batch,
/// which makes its own.
class EncodeCache {
 private:
  friend class Tokenizer;
  detail::EncodeMemory memory_;
};

}  // namespace eigenformer
