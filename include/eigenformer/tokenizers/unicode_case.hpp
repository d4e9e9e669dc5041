// Lower case by Unicode's full mapping (SpecialCasing included): what Rust's and Python's lower()
// make of a text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/unicode_case_table.hpp"

namespace eigenformer::detail {

/// Appends the lower case of one character, whatever stands around it.
inline void append_lower(std::string& out, char32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point >= 'A' && point <= 'Z' ? point + 32 : point);
    return;
  }
  if (point == 0x130) {  // the only one that becomes two: i with a dot above
    out += "i\xCC\x87";
    return;
  }
  const LowerRange* range =
      std::lower_bound(std::begin(lower_ranges), std::end(lower_ranges), point,
                       [](const LowerRange& r, char32_t p) { return r.last < p; });
  const bool upper = range != std::end(lower_ranges) && point >= range->first &&
                     (point - range->first) % range->step == 0;
  append_utf8(out, upper ? point + static_cast<char32_t>(range->offset) : point);
}

/// What a capital sigma asks of its neighbours: letters with case count, others end the word, and
/// those in between, such as apostrophes and accents, are looked past.
enum class CaseKind : std::uint8_t { none = 0, cased = 1, ignorable = 2 };
[[nodiscard]] inline CaseKind case_kind(char32_t point) noexcept {
  const std::uint32_t* after =
      std::upper_bound(std::begin(case_runs), std::end(case_runs), 4 * point + 3);
  return static_cast<CaseKind>(after[-1] & 3);  // the first run begins at 0
}

/// Whether the capital sigma at bytes `begin` to `end` of `text` ends a word: a letter with case
/// comes before it and none after (Final_Sigma, Unicode 3.13).
[[nodiscard]] inline bool is_final_sigma(std::string_view text, std::size_t begin,
                                         std::size_t end) noexcept {
  CaseKind kind = CaseKind::ignorable;
  while (begin > 0 && kind == CaseKind::ignorable) {
    const Utf8Char before = decode_utf8_before(text.data() + begin);
    kind = case_kind(before.point);
    begin -= before.size;
  }
  if (kind != CaseKind::cased) return false;
  kind = CaseKind::ignorable;
  while (end < text.size() && kind == CaseKind::ignorable) {
    const Utf8Char after = decode_utf8(text.data() + end);
    kind = case_kind(after.point);
    end += after.size;
  }
  return kind != CaseKind::cased;
}

/// The lower case of valid UTF-8.
[[nodiscard]] inline std::string to_lower(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char next = decode_utf8(text.data() + at);
    if (next.point == 0x3A3 && is_final_sigma(text, at, at + next.size)) {
      append_utf8(lower, 0x3C2);
    } else {
      append_lower(lower, next.point);
    }
    at += next.size;
  }
  return lower;
}

}  // namespace eigenformer::detail
