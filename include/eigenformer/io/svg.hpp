// What pictures in SVG are written with: numbers in a pattern, and any text.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

namespace eigenformer {

/// What std::printf writes.
template <class... Values>
[[nodiscard]] std::string printed(const char* pattern, Values... values) {
  std::string text(static_cast<std::size_t>(std::snprintf(nullptr, 0, pattern, values...)), '\0');
  std::snprintf(text.data(), text.size() + 1, pattern, values...);
  return text;
}

/// Valid UTF-8 as XML may hold it, between tags or quotes; control characters become pictures of
/// themselves.
[[nodiscard]] inline std::string xml_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '&' || c == '<' || c == '>' || c == '"') {
      out += printed("&#%d;", c);
    } else if (code < 0x20 || code == 0x7F) {
      out += {'\xE2', '\x90', static_cast<char>(code == 0x7F ? 0xA1 : 0x80 + code)};
    } else {
      out += c;
    }
  }
  for (const char* refused : {"\xEF\xBF\xBE", "\xEF\xBF\xBF"}) {  // U+FFFE and U+FFFF
    for (std::size_t at = 0; (at = out.find(refused, at)) != std::string::npos;) {
      out.replace(at, 3, "\xEF\xBF\xBD");
    }
  }
  return out;
}

}  // namespace eigenformer
