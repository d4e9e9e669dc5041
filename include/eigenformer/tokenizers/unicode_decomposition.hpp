// The compatibility decomposition (NFKD, Unicode 3.11) and combining marks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "eigenformer/tokenizers/unicode_bert.hpp"
#include "eigenformer/tokenizers/unicode_decomposition_table.hpp"

namespace eigenformer::detail {

/// Calls emit(point) for each code point of the whole decomposition of one.
template <class Emit>
void decompose(char32_t point, Emit&& emit) {
  if (is_hangul_syllable(point)) return decompose_hangul(point, emit);
  const auto* const entry =
      std::lower_bound(std::begin(decompositions), std::end(decompositions), point,
                       [](const auto& e, char32_t p) { return e[0] < p; });
  if ((*entry)[0] != point) return emit(point);  // the last entry is beyond all code points
  for (char32_t i = entry[0][1]; i < entry[1][1]; ++i) emit(decomposition_points[i]);
}

/// Whether it is an accent, which StripAccents takes away.
[[nodiscard]] inline bool is_combining_mark(char32_t point) noexcept {
  const auto* const range =
      std::lower_bound(std::begin(combining_marks), std::end(combining_marks), point,
                       [](const auto& r, char32_t p) { return r[1] < p; });
  return range != std::end(combining_marks) && point >= (*range)[0];
}

}  // namespace eigenformer::detail
