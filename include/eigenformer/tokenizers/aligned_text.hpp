// Text whose characters know the bytes of the input that they stand for, while stages change it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer::detail {

/// A piece of the text: `spans` are the bytes of the text that each of its bytes stands for, or
/// null where it is the text itself from `base` on.
struct PieceText {
  std::string_view text;
  std::size_t base;
  const ByteSpan* spans;

  /// Bytes begin..end of the piece.
  [[nodiscard]] PieceText part(std::size_t begin, std::size_t end) const noexcept {
    return {text.substr(begin, end - begin), base + begin,
            spans == nullptr ? nullptr : spans + begin};
  }
  /// The bytes of the text that bytes begin..end of the piece, whole characters, stand for.
  [[nodiscard]] ByteSpan whole(std::size_t begin, std::size_t end) const noexcept {
    if (spans != nullptr) return {spans[begin].begin, spans[end - 1].end};
    return {static_cast<std::uint32_t>(base + begin), static_cast<std::uint32_t>(base + end)};
  }
  /// The same for any bytes, with all of the characters that they belong to.
  [[nodiscard]] ByteSpan place(std::size_t begin, std::size_t end) const noexcept {
    if (spans == nullptr) {
      while (begin > 0 && is_continuation(text[begin])) --begin;
      while (end < text.size() && is_continuation(text[end])) ++end;
    }
    return whole(begin, end);
  }
};

/// Text with the bytes of the input that each of its bytes stands for.
struct AlignedText {
  std::string text;
  std::vector<ByteSpan> spans;  ///< `[text.size()]`

  /// Makes room for about as much as `size` bytes.
  void reserve(std::size_t size) {
    text.reserve(size);
    spans.reserve(size);
  }

  /// Appends a character that stands for the bytes `span`.
  void append(char32_t point, const ByteSpan& span) {
    append_utf8(text, point);
    spans.resize(text.size(), span);
  }
  /// Appends characters that all stand for the bytes `span`.
  void append(std::string_view characters, const ByteSpan& span) {
    text += characters;
    spans.resize(text.size(), span);
  }
  /// Appends bytes begin..end of a piece, whole characters, as they are.
  void append(const PieceText& piece, std::size_t begin, std::size_t end) {
    text += piece.text.substr(begin, end - begin);
    if (piece.spans != nullptr) {
      spans.insert(spans.end(), piece.spans + begin, piece.spans + end);
      return;
    }
    for (std::size_t at = begin; at < end;) {
      const std::size_t size = decode_utf8(piece.text.data() + at).size;
      spans.resize(spans.size() + size, piece.whole(at, at + size));
      at += size;
    }
  }

  /// All of it as a piece; valid until it changes.
  [[nodiscard]] PieceText piece() const noexcept { return {text, 0, spans.data()}; }
};

/// A new character, and what it does to those of the text before: 0 takes the place of the next
/// one, -n of the next and of n more that follow it, and 1 is put in behind what came before.
struct CharacterChange {
  char32_t point;
  std::ptrdiff_t change;
};

/// The changed text. Mirrors NormalizedString::transform of tokenizers/src/tokenizer/normalizer.rs.
[[nodiscard]] inline AlignedText transform(const PieceText& from,
                                           std::span<const CharacterChange> changes) {
  AlignedText out;
  out.reserve(from.text.size());
  std::size_t at = 0;
  for (const CharacterChange& made : changes) {
    if (made.change > 0) {
      out.append(made.point, at == 0 ? ByteSpan{} : from.place(at - 1, at));
      continue;
    }
    out.append(made.point, at == from.text.size() ? ByteSpan{} : from.place(at, at + 1));
    for (std::ptrdiff_t i = made.change; i <= 0 && at < from.text.size(); ++i) {
      at += decode_utf8(from.text.data() + at).size;
    }
  }
  return out;
}

}  // namespace eigenformer::detail
