// What is encoded, what that gives, what one can ask for, and the windows that truncation cuts.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"

namespace eigenformer {

class EncodeCache;

/// A text, or a pair of texts that a model reads together. Views: the texts must outlive it.
struct TextInput {
  std::string_view text;                 ///< the only one, or the first of a pair
  std::optional<std::string_view> pair;  ///< the second, if there is one

  /// Made from one text, or from two.
  template <std::convertible_to<std::string_view> Text>
  TextInput(const Text& first, std::optional<std::string_view> second = {})  // NOLINT: from texts
      : text(first), pair(second) {}
};

/// Bytes `begin` to `end` (excluded) of a text.
struct ByteSpan {
  std::uint32_t begin = 0;  ///< the first byte
  std::uint32_t end = 0;    ///< one past the last byte
  /// How many bytes.
  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
  /// Equal in both.
  friend bool operator==(const ByteSpan&, const ByteSpan&) = default;
};

/// The tokens of one text, or of one pair of texts. All vectors are as long as `ids`, except those
/// that EncodeOptions::details left empty.
struct Encoding {
  std::vector<TokenId> ids;  ///< what a model takes
  /// Which text each token belongs to, as the template says; RoBERTa: all 0.
  std::vector<TokenId> type_ids;
  /// Bytes of the input (of its own text, for a pair): whole characters; {0, 0} for what the
  /// template adds. Tokens that share a character each have all of it.
  std::vector<ByteSpan> offsets;
  /// 1 for what the template adds, 0 for the text's own tokens, a `<mask>` in it included.
  std::vector<std::uint8_t> special_tokens_mask;
  std::vector<std::int32_t> word_ids;      ///< number of the word in its text, -1: none
  std::vector<std::int32_t> sequence_ids;  ///< 0: text, 1: the pair's second text, -1: none
  std::vector<Encoding> overflowing;       ///< the other windows of a truncated text

  /// How many tokens there are.
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(ids.size()); }
};

/// Which text of a pair loses tokens.
enum class TruncationStrategy {
  longest_first,  ///< the longer one
  only_first,     ///< the first, or there is an error
  only_second,    ///< the second, or there is an error
};
/// At which end the tokens are taken away.
enum class TruncationDirection {
  right,  ///< the end of the text goes
  left,   ///< its beginning goes
};
/// Which vectors of an Encoding are filled.
enum class EncodingDetails {
  ids,      ///< ids alone
  offsets,  ///< ids and offsets
  all       ///< all of them
};

/// What Tokenizer::encode can be asked for.
struct EncodeOptions {
  /// Put the text into the model's template, such as `<s> text </s>`.
  bool add_special_tokens = true;
  /// At most this many tokens, special ones counted; 0: no limit.
  Index max_length = 0;
  /// Tokens that a window shares with the one before it.
  Index stride = 0;
  /// Which text of a pair loses tokens to max_length.
  TruncationStrategy strategy = TruncationStrategy::longest_first;
  /// At which end it loses them.
  TruncationDirection direction = TruncationDirection::right;
  /// Fill Encoding::overflowing when the text is truncated.
  bool return_overflow = true;
  /// Special tokens in the text are plain text: for input that must not inject a `</s>`.
  bool encode_special_tokens = false;
  /// Which vectors of the Encoding are filled.
  EncodingDetails details = EncodingDetails::all;
  /// Keeps words and memory from call to call; for one thread at a time. Null: nothing is kept.
  EncodeCache* cache = nullptr;
};

namespace detail {

/// Tokens `begin` to `end` of a text, before the template adds its own.
struct Window {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Cuts `size` tokens into windows of at most `length`, which share `stride` tokens; the first one
/// is the truncated text, the others are its overflow. Throws ConfigError for a stride that does
/// not advance.
[[nodiscard]] inline std::vector<Window> cut_windows(std::size_t size, std::size_t length,
                                                     std::size_t stride,
                                                     TruncationDirection direction) {
  if (size <= length) return {{0, size}};
  if (length == 0) return {{0, 0}, {0, size}};
  check<ConfigError>(stride < length, "tokenizer: stride ", stride, " must be less than the ",
                     length, " tokens that truncation leaves; raise max_length or lower stride");
  std::vector<Window> windows;
  const std::size_t step = length - stride;
  if (direction == TruncationDirection::right) {
    for (std::size_t begin = 0;; begin += step) {
      windows.push_back({begin, std::min(begin + length, size)});
      if (windows.back().end == size) return windows;
    }
  }
  for (std::size_t end = size;; end -= step) {
    windows.push_back({end > length ? end - length : 0, end});
    if (windows.back().begin == 0) return windows;
  }
}

/// How many tokens truncation leaves of each text.
struct Lengths {
  std::size_t first = 0;
  std::size_t second = 0;
};

/// `size` are the tokens that there are, `limit` those that may stay in total. As HF: the longer
/// text is cut to what the shorter leaves, and if that is not enough, both to half, the second (or
/// whichever was longer) taking the odd one. Throws ConfigError where the strategy cannot do it.
[[nodiscard]] inline Lengths truncated_lengths(Lengths size, bool pair, std::size_t limit,
                                               TruncationStrategy strategy) {
  const std::size_t total = size.first + size.second;
  if (total <= limit) return size;
  if (limit == 0) return {};
  if (strategy == TruncationStrategy::longest_first) {
    if (!pair) return {limit, 0};
    const bool swapped = size.first > size.second;
    std::size_t shorter = swapped ? size.second : size.first;
    std::size_t longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
    if (shorter + longer > limit) {
      shorter = limit / 2;
      longer = shorter + limit % 2;
    }
    return swapped ? Lengths{longer, shorter} : Lengths{shorter, longer};
  }
  const bool first = strategy == TruncationStrategy::only_first;
  check<ConfigError>(first || pair,
                     "tokenizer: truncation of only the second text, but there is none");
  const std::size_t target = first ? size.first : size.second;
  const std::size_t excess = total - limit;
  check<ConfigError>(target > excess, "tokenizer: the ", first ? "first" : "second", " text has ",
                     target, " tokens, but ", excess, " would have to go to leave ", limit,
                     "; use longest_first or a larger max_length");
  return first ? Lengths{target - excess, size.second} : Lengths{size.first, target - excess};
}

}  // namespace detail
}  // namespace eigenformer
