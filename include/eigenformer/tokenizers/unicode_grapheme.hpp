// Grapheme clusters, what readers take for one character (Unicode Standard Annex 29), as far as the
// character map of a normalizer asks for them: it looks up clusters of less than six bytes whole.
// Flags need no rule, since each of their two halves has four bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/unicode_grapheme_table.hpp"

namespace eigenformer::detail {

/// What a code point is to grapheme clusters; whole Hangul syllables have no kind in the table.
enum class GraphemeKind : std::uint8_t {
  other,
  control,
  extend,
  joiner,  ///< U+200D
  spacing_mark,
  prepended,
  pictograph,
  hangul_leading,
  hangul_vowel,
  hangul_trailing,
  consonant,    ///< of an Indic script
  hangul_open,  ///< a syllable without a trailing consonant
  hangul_closed
};
[[nodiscard]] inline GraphemeKind grapheme_kind(char32_t point) noexcept {
  if (point >= 0xAC00 && point <= 0xD7A3) {
    return (point - 0xAC00) % 28 == 0 ? GraphemeKind::hangul_open : GraphemeKind::hangul_closed;
  }
  const std::uint32_t* after =
      std::upper_bound(std::begin(grapheme_runs), std::end(grapheme_runs), 16 * point + 15);
  return static_cast<GraphemeKind>(after[-1] & 15);  // the first run begins at 0
}

/// Where the cluster that begins at `at` ends.
[[nodiscard]] inline std::size_t grapheme_end(std::string_view text, std::size_t at) noexcept {
  using enum GraphemeKind;
  Utf8Char last = decode_utf8(text.data() + at);
  GraphemeKind kind = grapheme_kind(last.point);
  at += last.size;
  bool pictures = kind == pictograph;  // a pictograph with what extends it
  bool joined_pictures = false;        // and a joiner
  bool consonants = kind == consonant;
  bool linked_consonants = false;
  while (at < text.size()) {
    const Utf8Char next = decode_utf8(text.data() + at);
    const GraphemeKind following = grapheme_kind(next.point);
    bool joins = false;
    if (kind == control || following == control) {
      joins = last.point == '\r' && next.point == '\n';
    } else if (following == extend || following == joiner || following == spacing_mark ||
               kind == prepended) {
      joins = true;
    } else if (kind == hangul_leading) {
      joins = following == hangul_leading || following == hangul_vowel ||
              following == hangul_open || following == hangul_closed;
    } else if (kind == hangul_vowel || kind == hangul_open) {
      joins = following == hangul_vowel || following == hangul_trailing;
    } else if (kind == hangul_trailing || kind == hangul_closed) {
      joins = following == hangul_trailing;
    } else {
      joins = (joined_pictures && following == pictograph) ||
              (linked_consonants && following == consonant);
    }
    if (!joins) return at;
    joined_pictures = pictures && following == joiner;
    pictures = following == pictograph || (pictures && following == extend);
    const bool between = (following == extend && next.point != 0x200C) || following == joiner;
    linked_consonants = consonants && between &&
                        (linked_consonants || std::ranges::find(conjunct_linkers, next.point) !=
                                                  std::end(conjunct_linkers));
    consonants = following == consonant || (consonants && between);
    last = next;
    kind = following;
    at += next.size;
  }
  return at;
}

}  // namespace eigenformer::detail
