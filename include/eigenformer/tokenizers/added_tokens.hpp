// Tokens that are found in the text before anything else looks at it: special ones such as
// `<mask>`, and whatever was added to the model's vocabulary. Matching is leftmost-longest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/tokenizers/hash_tables.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer::detail {

struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool single_word = false;  ///< only between characters that are no word characters
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
  bool normalized = true;    ///< is looked for in the normalized text, not in the text
  bool special = false;
};

/// Finds the longest of a set of strings at each place of a text.
class StringMatcher {
 public:
  static constexpr std::uint32_t none = PairTable::none;

  struct Match {
    std::size_t begin;
    std::size_t end;
    std::uint32_t pattern;
  };

  /// Of equal patterns the first one counts; an empty one is never found.
  void add(std::string_view pattern, std::uint32_t number) {
    if (pattern.empty()) return;
    std::uint32_t node = 0;
    for (const char c : pattern) {
      const auto byte = static_cast<unsigned char>(c);
      std::uint32_t child = children_.find(node, byte);
      if (child == none) {
        child = static_cast<std::uint32_t>(pattern_at_.size());
        children_.insert(node, byte, child);
        pattern_at_.push_back(none);
      }
      node = child;
    }
    if (pattern_at_[node] == none) pattern_at_[node] = number;
    const auto first = static_cast<unsigned char>(pattern.front());
    only_first_ = empty_ ? first : only_first_ == first ? first : -1;
    first_[first] = true;
    empty_ = false;
  }

  [[nodiscard]] bool empty() const noexcept { return empty_; }

  /// The first match that begins at or after `at`; its pattern is `none` where there is none.
  [[nodiscard]] Match find(std::string_view text, std::size_t at) const noexcept {
    for (; at < text.size(); ++at) {
      if (only_first_ >= 0) {
        at = std::min(text.find(static_cast<char>(only_first_), at), text.size());
      } else {
        while (at < text.size() && !first_[static_cast<unsigned char>(text[at])]) ++at;
      }
      Match longest{at, at, none};
      std::uint32_t node = 0;
      for (std::size_t end = at; end < text.size();) {
        node = children_.find(node, static_cast<unsigned char>(text[end]));
        if (node == none) break;
        ++end;
        if (pattern_at_[node] != none) longest = {at, end, pattern_at_[node]};
      }
      if (longest.pattern != none) return longest;
    }
    return {text.size(), text.size(), none};
  }

 private:
  PairTable children_;                           // (node, byte) to node; the root is 0
  std::vector<std::uint32_t> pattern_at_{none};  // by node
  std::array<bool, 256> first_{};
  int only_first_ = -1;  // the byte that all patterns begin with, if there is one
  bool empty_ = true;
};

/// The added tokens of a tokenizer.
class AddedTokens {
 public:
  static constexpr std::uint32_t none = StringMatcher::none;

  /// `pattern` is what is looked for: the content, normalized where the token says so.
  void add(AddedToken token, std::string_view pattern) {
    const auto number = static_cast<std::uint32_t>(tokens_.size());
    (token.normalized ? in_normalized_ : in_raw_).add(pattern, number);
    tokens_.push_back(std::move(token));
  }

  [[nodiscard]] const std::vector<AddedToken>& all() const noexcept { return tokens_; }

  /// Cuts `text` into added tokens and what lies between them: calls emit(begin, end, number) in
  /// order, with `none` for the text between. `normalized` says which of the two passes it is.
  template <class Emit>
  void split(std::string_view text, bool normalized, bool specials_are_text, Emit&& emit) const {
    const StringMatcher& matcher = normalized ? in_normalized_ : in_raw_;
    std::size_t done = 0;
    std::size_t at = 0;
    while (!matcher.empty() && at < text.size()) {
      const StringMatcher::Match match = matcher.find(text, at);
      if (match.pattern == none) break;
      at = match.end;
      const AddedToken& token = tokens_[match.pattern];
      if ((specials_are_text && token.special) ||
          (token.single_word && !stands_alone(text, match))) {
        continue;
      }
      // A token that begins in white space that the one before it took: HF keeps both, overlapping,
      // unless this one strips to the left, which leaves nothing of it.
      const std::size_t begin = token.lstrip ? strip_left(text, done, match.begin) : match.begin;
      const std::size_t end = token.rstrip ? strip_right(text, match.end) : match.end;
      if (begin > done) emit(done, begin, none);
      if (begin < end) emit(begin, end, match.pattern);
      done = end;
    }
    if (done < text.size()) emit(done, text.size(), none);
  }

 private:
  static bool stands_alone(std::string_view text, const StringMatcher::Match& match) {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    const char* data = text.data();
    return (match.begin == 0 || !classes.is_word(decode_utf8_before(data + match.begin).point)) &&
           (match.end == text.size() || !classes.is_word(decode_utf8(data + match.end).point));
  }

  static std::size_t strip_left(std::string_view text, std::size_t from, std::size_t at) {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    if (at < from) return from;
    while (at > from) {
      const Utf8Char before = decode_utf8_before(text.data() + at);
      if (!classes.is_space(before.point)) break;
      at -= before.size;
    }
    return at;
  }

  static std::size_t strip_right(std::string_view text, std::size_t at) {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    while (at < text.size()) {
      const Utf8Char next = decode_utf8(text.data() + at);
      if (!classes.is_space(next.point)) break;
      at += next.size;
    }
    return at;
  }

  std::vector<AddedToken> tokens_;
  StringMatcher in_raw_;
  StringMatcher in_normalized_;
};

}  // namespace eigenformer::detail
