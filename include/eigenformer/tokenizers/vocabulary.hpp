// The tokens of a vocabulary by id and by spelling. Ids may have gaps.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/tokenizers/hash_tables.hpp"

namespace eigenformer::detail {

/// Larger ids are refused: tables by id would be far larger than the file that asks for them. The
/// largest published vocabulary, XLM-V's, has 901,629 tokens.
inline constexpr std::int64_t max_token_id = (1 << 20) - 1;

class Vocabulary {
 public:
  /// Makes room for `count` tokens.
  void reserve(std::size_t count) {
    tokens_.reserve(count);
    if (2 * count > slots_.size()) grow(count);
  }

  /// Adds a token; throws FormatError naming `source` for an id or a spelling that is taken, or an
  /// id out of range.
  void add(std::string_view token, std::int64_t id, std::string_view source) {
    check<FormatError>(id >= 0 && id <= max_token_id, source, ": token '", token, "' has id ", id,
                       ", which is outside 0..", max_token_id);
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens_.size()) tokens_.resize(at + 1);
    check<FormatError>(!tokens_[at].used, source, ": tokens '", spelling(at), "' and '", token,
                       "' have the same id ", id);
    if (2 * (size_ + 1) > slots_.size()) grow(2 * size_ + 32);
    std::size_t slot = hash_bytes(token) >> shift_;
    for (; slots_[slot] != none; slot = (slot + 1) & (slots_.size() - 1)) {
      check<FormatError>(spelling(static_cast<std::size_t>(slots_[slot])) != token, source,
                         ": token '", token, "' appears twice");
    }
    slots_[slot] = static_cast<TokenId>(id);
    tokens_[at] = {bytes_.size(), static_cast<std::uint32_t>(token.size()), true};
    bytes_ += token;
    ++size_;
  }

  [[nodiscard]] std::optional<TokenId> find(std::string_view token) const noexcept {
    if (slots_.empty()) return std::nullopt;
    for (std::size_t at = hash_bytes(token) >> shift_; slots_[at] != none;
         at = (at + 1) & (slots_.size() - 1)) {
      if (spelling(static_cast<std::size_t>(slots_[at])) == token) return slots_[at];
    }
    return std::nullopt;
  }

  /// The spelling of a token, or nothing for an id without one.
  [[nodiscard]] std::optional<std::string_view> find(TokenId id) const noexcept {
    const auto at = static_cast<std::size_t>(id);
    if (id < 0 || at >= tokens_.size() || !tokens_[at].used) return std::nullopt;
    return spelling(at);
  }

  /// How many tokens there are.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// One more than the largest id.
  [[nodiscard]] std::size_t end_id() const noexcept { return tokens_.size(); }

 private:
  static constexpr TokenId none = -1;
  struct Token {
    std::size_t begin = 0;
    std::uint32_t size = 0;
    bool used = false;
  };

  [[nodiscard]] std::string_view spelling(std::size_t at) const noexcept {
    return std::string_view(bytes_).substr(tokens_[at].begin, tokens_[at].size);
  }

  void grow(std::size_t count) {
    slots_.assign(std::bit_ceil(2 * count), none);
    shift_ = 64 - std::countr_zero(slots_.size());
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!tokens_[id].used) continue;
      std::size_t slot = hash_bytes(spelling(id)) >> shift_;
      while (slots_[slot] != none) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = static_cast<TokenId>(id);
    }
  }

  std::string bytes_;           // all spellings, one after the other
  std::vector<Token> tokens_;   // by id
  std::vector<TokenId> slots_;  // by spelling
  int shift_ = 64;
  std::size_t size_ = 0;
};

}  // namespace eigenformer::detail
