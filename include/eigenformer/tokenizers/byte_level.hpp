// The byte-level pre-tokenizer of GPT-2 and RoBERTa: the pattern that cuts text into words, and the
// printable character that stands for each byte in vocabularies. Words are kept as bytes here; it
// is the vocabulary that is translated, once, when it is loaded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer::detail {

/// The code point that stands for each byte: itself where it is printable Latin-1, else
/// U+0100, U+0101, ... in the order of the bytes.
[[nodiscard]] constexpr std::array<char16_t, 256> make_byte_characters() noexcept {
  std::array<char16_t, 256> characters{};
  char16_t next = 0x100;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    characters[byte] = printable ? static_cast<char16_t>(byte) : next++;
  }
  return characters;
}
inline constexpr std::array<char16_t, 256> byte_characters = make_byte_characters();

/// The other way round: the byte, or -1.
[[nodiscard]] constexpr std::array<std::int16_t, 0x144> make_character_bytes() noexcept {
  std::array<std::int16_t, 0x144> bytes{};
  for (std::int16_t& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    bytes[byte_characters[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}
inline constexpr std::array<std::int16_t, 0x144> character_bytes = make_character_bytes();

/// The spelling of a byte in a byte-level vocabulary.
[[nodiscard]] inline std::string byte_spelling(std::size_t byte) {
  std::string spelling;
  append_utf8(spelling, byte_characters[byte]);
  return spelling;
}

/// The bytes that a token of a byte-level vocabulary stands for; nothing where it holds another
/// character.
[[nodiscard]] inline std::optional<std::string> byte_level_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const Utf8Char next = decode_utf8(token.data() + at);
    if (next.point >= character_bytes.size() || character_bytes[next.point] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(character_bytes[next.point]);
    at += next.size;
  }
  return bytes;
}

/// Kinds of the ASCII characters, and `multibyte` for all other bytes.
inline constexpr std::uint8_t multibyte = 4;
[[nodiscard]] constexpr std::array<std::uint8_t, 256> make_byte_kinds() noexcept {
  std::array<std::uint8_t, 256> kinds{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    const bool space = byte == ' ' || (byte >= '\t' && byte <= '\r');
    const CharKind kind = letter                       ? CharKind::letter
                          : byte >= '0' && byte <= '9' ? CharKind::number
                          : space                      ? CharKind::space
                                                       : CharKind::other;
    kinds[byte] = byte >= 0x80 ? multibyte : static_cast<std::uint8_t>(kind);
  }
  return kinds;
}
inline constexpr std::array<std::uint8_t, 256> byte_kinds = make_byte_kinds();

/// Cuts text as the pattern
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// does, and calls emit(begin, end) for each word. Every byte belongs to exactly one.
class ByteLevelSplitter {
 public:
  template <class Emit>
  void operator()(std::string_view text, Emit&& emit) const {
    const char* const data = text.data();
    const std::size_t size = text.size();
    std::size_t at = 0;
    while (at < size) {
      const std::size_t begin = at;
      if (data[at] == '\'') {
        if (const std::size_t length = contraction(text, at); length != 0) {
          at += length;
          emit(begin, at);
          continue;
        }
      }
      if (data[at] == ' ' && at + 1 < size) ++at;  // it may lead a word
      CharKind kind = CharKind::other;
      std::size_t next = step(data, at, kind);
      if (kind != CharKind::space) {
        at = run_end(data, size, next, kind);
        emit(begin, at);
        continue;
      }
      // White space: its last character is left to the word that follows, if one does.
      std::size_t last = at;
      while (next < size) {
        const std::size_t after = step(data, next, kind);
        if (kind != CharKind::space) break;
        last = next;
        next = after;
      }
      at = next == size || last == begin ? next : last;
      emit(begin, at);
    }
  }

 private:
  /// The kind of the character at `at`, and where the next one begins.
  std::size_t step(const char* data, std::size_t at, CharKind& kind) const noexcept {
    const std::uint8_t of_byte = byte_kinds[static_cast<unsigned char>(data[at])];
    if (of_byte != multibyte) [[likely]] {
      kind = static_cast<CharKind>(of_byte);
      return at + 1;
    }
    const Utf8Char next = decode_utf8(data + at);
    kind = classes_->kind(next.point);
    return at + next.size;
  }

  /// Where the run of characters of this kind ends.
  std::size_t run_end(const char* data, std::size_t size, std::size_t at,
                      CharKind kind) const noexcept {
    while (true) {
      while (at < size &&
             byte_kinds[static_cast<unsigned char>(data[at])] == static_cast<std::uint8_t>(kind)) {
        ++at;
      }
      if (at == size || static_cast<signed char>(data[at]) >= 0) return at;
      CharKind next_kind = kind;
      const std::size_t next = step(data, at, next_kind);
      if (next_kind != kind) return at;
      at = next;
    }
  }

  static std::size_t contraction(std::string_view text, std::size_t at) noexcept {
    if (at + 1 >= text.size()) return 0;
    const char first = text[at + 1];
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if (at + 2 >= text.size()) return 0;
    const char second = text[at + 2];
    const bool three = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                       (first == 'l' && second == 'l');
    return three ? 3 : 0;
  }

  const UnicodeClasses* classes_ = &UnicodeClasses::instance();
};

}  // namespace eigenformer::detail
