// The character map of SentencePiece models (Kudo and Richardson, arXiv:1808.06226): what grapheme
// clusters or characters are replaced by, as a double array (Aoe, 1989) over the bytes of UTF-8 and
// a pool of replacements. Mirrors spm_precompiled and tokenizers/src/normalizers/precompiled.rs,
// with what is odd in them: the shortest match counts, and stands for the whole cluster.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/tokenizers/aligned_text.hpp"
#include "eigenformer/tokenizers/unicode_grapheme.hpp"

namespace eigenformer::detail {

inline constexpr std::string_view base64_digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes that Base64 with padding stands for (RFC 4648), or nothing where it is not valid.
[[nodiscard]] inline std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = base64_digits.find(c);
    if (digit == base64_digits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  if ((bits & ((1U << count) - 1)) != 0) return std::nullopt;
  return bytes;
}

/// Bytes as Base64 with padding.
[[nodiscard]] inline std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() / 3 * 4 + 4);
  for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(bytes.size(), 3))) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      bits = bits << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text += i <= bytes.size() ? base64_digits[bits >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

class Precompiled {
 public:
  /// `bytes`: the size of the array in bytes, the array, and replacements that end in NUL; numbers
  /// are little-endian. Throws FormatError naming `source`.
  Precompiled(std::string_view bytes, const std::string& source) {
    const auto number = [&](std::size_t at) {
      std::uint32_t made = 0;
      for (std::size_t i = 4; i > 0; --i) {
        made = made << 8 | static_cast<unsigned char>(bytes[at + i - 1]);
      }
      return made;
    };
    const std::size_t size = bytes.size() < 4 ? 0 : number(0) / 4;
    check<FormatError>(size > 0 && size <= (bytes.size() - 4) / 4, source,
                       ": normalizer Precompiled: 'precompiled_charsmap' has ", bytes.size(),
                       " bytes, which do not hold the array that they begin with");
    units_.reserve(size);
    for (std::size_t i = 1; i <= size; ++i) units_.push_back(number(4 * i));
    replacements_ = bytes.substr(4 + 4 * size);
    check<FormatError>(valid_prefix(replacements_) == replacements_.size(), source,
                       ": normalizer Precompiled: the replacements of 'precompiled_charsmap' are "
                       "not valid UTF-8");
    for (std::size_t byte = 0; byte < changed_.size(); ++byte) {
      const char c = static_cast<char>(byte);
      changed_[byte] = byte >= 0x80 || find({&c, 1}).has_value();
    }
  }

  /// Whether the text may become another one.
  [[nodiscard]] bool changes(std::string_view text) const noexcept {
    for (const char c : text) {
      if (changed_[static_cast<unsigned char>(c)]) return true;
    }
    // The one cluster of ASCII characters alone.
    return text.find("\r\n") != text.npos;
  }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    std::vector<CharacterChange> made;
    made.reserve(in.text.size());
    const std::string_view text = in.text;
    for (std::size_t at = 0; at < text.size();) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const bool alone = byte < 0x80 && byte != '\r' &&
                         (at + 1 == text.size() || static_cast<signed char>(text[at + 1]) >= 0);
      if (alone && !changed_[byte]) {
        made.push_back({byte, 0});
        ++at;
        continue;
      }
      const std::size_t end = alone ? at + 1 : grapheme_end(text, at);
      const auto whole =
          end - at < 6 ? find(text.substr(at, end - at)) : std::optional<std::string_view>();
      if (whole) replace(made, text.substr(at, end - at), *whole);
      while (at < end && !whole) {
        const Utf8Char next = decode_utf8(text.data() + at);
        const std::string_view character = text.substr(at, next.size);
        if (const auto found = find(character))
          replace(made, character, *found);
        else
          made.push_back({next.point, 0});
        at += next.size;
      }
      at = end;
    }
    return transform(in, made);
  }

 private:
  /// What the shortest beginning of `text` that is in the map is replaced by.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view text) const {
    const auto offset = [](std::uint32_t unit) -> std::size_t {
      return (unit >> 10) << ((unit & 1U << 9) >> 6);
    };
    std::size_t at = offset(units_[0]);
    for (const char c : text) {
      const std::uint32_t byte = static_cast<unsigned char>(c);
      at ^= byte;
      if (byte == 0 || at >= units_.size()) break;
      const std::uint32_t unit = units_[at];
      if ((unit & (1U << 31 | 0xFF)) != byte) break;
      at ^= offset(unit);
      if ((unit >> 8 & 1) == 0) continue;
      if (at >= units_.size()) break;
      return replacement(units_[at] & ~(1U << 31));
    }
    return std::nullopt;
  }

  [[nodiscard]] std::string_view replacement(std::size_t begin) const {
    const std::string_view pool = replacements_;
    check<FormatError>(
        begin <= pool.size() && (begin == pool.size() || !is_continuation(pool[begin])),
        "tokenizer: normalizer Precompiled: a replacement begins at byte ", begin, " of ",
        pool.size(), ", where no character begins; 'precompiled_charsmap' is damaged");
    return pool.substr(begin, pool.find('\0', begin) - begin);
  }

  /// Of the characters that there are more of, the last are put in; where there are fewer, the last
  /// takes the place of all the rest. Where there are none, that is the one before, if any.
  static void replace(std::vector<CharacterChange>& made, std::string_view from,
                      std::string_view to) {
    const auto before = static_cast<std::ptrdiff_t>(count_characters(from));
    std::ptrdiff_t count = 0;
    for (std::size_t at = 0; at < to.size(); ++count) {
      const Utf8Char next = decode_utf8(to.data() + at);
      made.push_back({next.point, count < before ? 0 : 1});
      at += next.size;
    }
    if (count < before && !made.empty()) made.back().change -= before - count;
  }

  std::vector<std::uint32_t> units_;
  std::string replacements_;
  std::array<bool, 256> changed_{};  // whether a byte alone is in the map, or may begin what is
};

}  // namespace eigenformer::detail
