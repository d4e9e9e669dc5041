// What BERT's tokenizer asks of code points: which ones cleaning takes away, which are white space,
// punctuation or Chinese, and what is left of them without accents (the canonical decomposition
// without its nonspacing marks).
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "eigenformer/tokenizers/unicode_bert_table.hpp"

namespace eigenformer::detail {

/// What bert_runs say of a code point.
enum BertKind : std::uint32_t {
  bert_removed = 1,      ///< cleaning takes it away
  bert_blank = 2,        ///< cleaning makes it a space
  bert_white = 4,        ///< parts words
  bert_punctuation = 8,  ///< is a word of its own
  bert_mark = 16         ///< a nonspacing mark: an accent
};
[[nodiscard]] inline std::uint32_t bert_kind(char32_t point) noexcept {
  const std::uint32_t* after =
      std::upper_bound(std::begin(bert_runs), std::end(bert_runs), 32 * point + 31);
  return after[-1] & 31;  // the first run begins at 0
}

/// Whether it gets spaces around it: the CJK ideographs, one of whose blocks begins 256 later than
/// in Unicode, as in tokenizers.
[[nodiscard]] inline bool is_bert_chinese(char32_t point) noexcept {
  constexpr char32_t blocks[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                    {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                                    {0x2F800, 0x2FA1F}};
  return std::ranges::any_of(
      blocks, [&](const auto& block) { return point >= block[0] && point <= block[1]; });
}

/// The class by which characters that combine with the one before are put in order; 0: it does not.
[[nodiscard]] inline char32_t combining_class(char32_t point) noexcept {
  const auto* const range =
      std::lower_bound(std::begin(combining_classes), std::end(combining_classes), point,
                       [](const auto& r, char32_t p) { return r[1] < p; });
  return range != std::end(combining_classes) && point >= (*range)[0] ? (*range)[2] : 0;
}

[[nodiscard]] constexpr bool is_hangul_syllable(char32_t point) noexcept {
  return point >= 0xAC00 && point <= 0xD7A3;
}

/// Calls emit(point) for each letter of a Hangul syllable (Unicode 3.12).
template <class Emit>
void decompose_hangul(char32_t syllable, Emit&& emit) {
  const char32_t index = syllable - 0xAC00;
  emit(0x1100 + index / 588);
  emit(0x1161 + index % 588 / 28);
  if (index % 28 != 0) emit(0x11A7 + index % 28);
}

/// Calls emit(point) for what `point` is without accents; a mark alone stays.
template <class Emit>
void without_accents(char32_t point, Emit&& emit) {
  if (point < 0xC0) return emit(point);
  if (is_hangul_syllable(point)) return decompose_hangul(point, emit);
  const auto find = [&](const auto& table) {
    const auto* const entry = std::lower_bound(std::begin(table), std::end(table), point,
                                               [](const auto& e, char32_t p) { return e[0] < p; });
    return entry != std::end(table) && (*entry)[0] == point ? entry : nullptr;
  };
  if (const auto* const one = find(accented)) return emit((*one)[1]);
  if (const auto* const several = find(composed)) {
    for (int i = 1; i < 4 && (*several)[i] != 0; ++i) emit((*several)[i]);
    return;
  }
  emit(point);
}

}  // namespace eigenformer::detail
