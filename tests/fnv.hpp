// Digests of large results: fixtures hold them in place of the results.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace eigenformer::tests {

/// FNV-1a with 64 bits, over whole 32-bit numbers and over bytes.
class Fnv {
 public:
  void add(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001B3U; }
  void bytes(std::string_view text) {
    for (const char byte : text) add(static_cast<unsigned char>(byte));
  }
  template <class Numbers>
  void numbers(const Numbers& numbers) {
    add(numbers.size());
    for (const auto number : numbers) add(static_cast<std::uint32_t>(number));
  }
  template <class Spans>
  void offsets(const Spans& spans) {
    add(2 * spans.size());
    for (const auto& span : spans) {
      add(span.begin);
      add(span.end);
    }
  }
  [[nodiscard]] std::string hex() const {
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

 private:
  std::uint64_t hash_ = 0xCBF29CE484222325U;
};

}  // namespace eigenformer::tests
