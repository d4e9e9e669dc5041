// UTF-8 and the classes of code points that pre-tokenizers ask for. Text inside the tokenizer is
// always valid UTF-8: repair() replaces each maximal invalid sequence by U+FFFD, as Python's
// errors="replace" and Rust's from_utf8_lossy do, and keeps the way back to the input's bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/tokenizers/unicode_table.hpp"

namespace eigenformer::detail {

/// What the byte-level pattern tells apart.
enum class CharKind : std::uint8_t { other = 0, letter = 1, number = 2, space = 3 };

/// The class of every code point.
class UnicodeClasses {
 public:
  /// The one table, made at first use.
  [[nodiscard]] static const UnicodeClasses& instance() {
    static const UnicodeClasses classes;
    return classes;
  }

  [[nodiscard]] CharKind kind(char32_t point) const noexcept {
    return point < end ? static_cast<CharKind>(classes_[point] & 3) : CharKind::other;
  }
  [[nodiscard]] bool is_space(char32_t point) const noexcept {
    return kind(point) == CharKind::space;
  }
  /// Whether a regular expression's \w takes it.
  [[nodiscard]] bool is_word(char32_t point) const noexcept {
    return point < end ? (classes_[point] & 4) != 0 : point >= 0xE0100 && point <= 0xE01EF;
  }

 private:
  static constexpr char32_t end = 0x40000;

  UnicodeClasses() : classes_(end) {
    std::size_t at = 0;
    for (const std::uint32_t run : unicode_runs) {
      std::memset(classes_.data() + at, static_cast<int>(run & 7), run >> 3);
      at += run >> 3;
    }
  }

  std::vector<std::uint8_t> classes_;
};

/// Whether Python's split() and strip() take it for white space: the four information separators
/// are, too.
[[nodiscard]] inline bool is_python_space(char32_t point) noexcept {
  return UnicodeClasses::instance().is_space(point) || (point >= 0x1C && point <= 0x1F);
}

/// A code point and how many bytes it takes.
struct Utf8Char {
  char32_t point;
  std::size_t size;
};

[[nodiscard]] inline bool is_continuation(char byte) noexcept { return (byte & 0xC0) == 0x80; }

/// The character at `at`; the text must be valid there.
[[nodiscard]] inline Utf8Char decode_utf8(const char* at) noexcept {
  const auto byte = [&](int i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

/// The character that ends before `at`, which is not the beginning.
[[nodiscard]] inline Utf8Char decode_utf8_before(const char* at) noexcept {
  const char* begin = at - 1;
  while (is_continuation(*begin)) --begin;
  return decode_utf8(begin);
}

inline void append_utf8(std::string& out, char32_t point) {
  const auto add = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (point < 0x80) return add(point);
  if (point < 0x800) {
    add(0xC0 | point >> 6);
  } else {
    if (point < 0x10000) {
      add(0xE0 | point >> 12);
    } else {
      add(0xF0 | point >> 18);
      add(0x80 | (point >> 12 & 0x3F));
    }
    add(0x80 | (point >> 6 & 0x3F));
  }
  add(0x80 | (point & 0x3F));
}

/// The bytes at `at` that form one valid character (`valid`), or else the longest start of one
/// that they could have been, at least 1.
struct Utf8Scan {
  std::size_t size;
  bool valid;
};
[[nodiscard]] inline Utf8Scan scan_utf8(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // No overlong forms, no surrogates, nothing beyond 10FFFF: the second byte says it all.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < size; ++i) {
    if (at + i >= text.size()) return {i, false};
    const unsigned next = byte(i);
    if (i == 1 ? next < low || next > high : (next & 0xC0) != 0x80) return {i, false};
  }
  return {size, true};
}

/// The position of the first byte that is not part of valid UTF-8, or the text's size.
[[nodiscard]] inline std::size_t valid_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t block = 0;
    while (at + sizeof(block) <= text.size()) {
      std::memcpy(&block, text.data() + at, sizeof(block));
      if ((block & 0x8080808080808080U) != 0) break;
      at += sizeof(block);
    }
    if (at >= text.size()) break;
    const Utf8Scan scan = scan_utf8(text, at);
    if (!scan.valid) return at;
    at += scan.size;
  }
  return at;
}

/// How many characters the bytes are; each maximal invalid sequence is one.
[[nodiscard]] inline std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += scan_utf8(text, at).size) ++count;
  return count;
}

/// Valid UTF-8 made of any bytes, and for each of its positions the position in those bytes.
struct RepairedText {
  std::string text;
  std::vector<std::uint32_t> origin;  ///< `[text.size() + 1]`, meaningful at characters' starts
};

/// Replaces each maximal invalid sequence by U+FFFD.
[[nodiscard]] inline RepairedText repair(std::string_view bytes) {
  RepairedText repaired;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Scan scan = scan_utf8(bytes, at);
    repaired.text += scan.valid ? bytes.substr(at, scan.size) : std::string_view("\xEF\xBF\xBD");
    repaired.origin.resize(repaired.text.size(), static_cast<std::uint32_t>(at));
    at += scan.size;
  }
  repaired.origin.push_back(static_cast<std::uint32_t>(bytes.size()));
  return repaired;
}

}  // namespace eigenformer::detail

namespace eigenformer {

/// Any bytes as valid UTF-8, as a Tokenizer reads them: each maximal invalid sequence is U+FFFD.
[[nodiscard]] inline std::string valid_utf8(std::string_view bytes) {
  return detail::repair(bytes).text;
}

}  // namespace eigenformer
