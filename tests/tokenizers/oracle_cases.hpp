// The cases of tests/oracle/tokenizers_fixtures.py, made again: the same random texts, in the same
// order, and the same digests of what the tokenizer makes of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

#include "../fnv.hpp"

namespace eigenformer::oracle {

/// A text, or a pair, with what is asked.
struct Case {
  std::string text;
  std::optional<std::string> pair;
  EncodeOptions options;

  [[nodiscard]] Encoding encode(const Tokenizer& tokenizer) const {
    return pair ? tokenizer.encode(text, *pair, options) : tokenizer.encode(text, options);
  }
};

/// splitmix64 and the texts made from it.
class Random {
 public:
  /// `fixture` holds the pieces and letters that texts are made of.
  Random(std::uint64_t seed, const Json& fixture)
      : state_(seed),
        pieces_(fixture["pieces"]),
        letters_(fixture["letters"].get_ref<const std::string&>()) {}

  std::uint64_t below(std::uint64_t n) {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (z ^ (z >> 31)) % n;
  }

  std::string text() {
    const std::uint64_t kind = below(5);
    const std::uint64_t count = below(kind == 0 ? 12 : kind == 1 ? 30 : kind == 2 ? 60 : 25);
    std::string made;
    for (std::uint64_t i = 0; i < count; ++i) add(made, kind <= 2 ? kind : below(3));
    return made;
  }

  Case make_case() {
    Case made;
    made.text = text();
    if (below(10) < 4) made.pair = text();
    if (below(10) < 3) made.options.add_special_tokens = false;
    if (below(10) < 1) made.options.encode_special_tokens = true;
    if (below(10) < 5) {
      made.options.max_length = static_cast<Index>(4 + below(28));
      made.options.stride = below(2) == 0 ? static_cast<Index>(below(6)) : 0;
      const std::uint64_t strategy = below(4);
      made.options.strategy = strategy < 2    ? TruncationStrategy::longest_first
                              : strategy == 2 ? TruncationStrategy::only_first
                                              : TruncationStrategy::only_second;
      if (below(10) < 3) made.options.direction = TruncationDirection::left;
    }
    return made;
  }

  std::string broken_bytes() {
    std::string data = text();
    const std::uint64_t changes = 1 + below(4);
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::uint64_t at = below(data.size() + 1);
      const std::uint64_t what = below(3);
      if (what == 0 && at < data.size()) {
        data[at] = static_cast<char>(below(256));
      } else if (what == 1 && at < data.size()) {
        data.erase(at, 1);
      } else {
        data.insert(at, 1, static_cast<char>(0x80 + below(128)));
      }
    }
    return data;
  }

 private:
  void add(std::string& text, std::uint64_t kind) {
    if (kind == 0) {
      text += pieces_[below(pieces_.size())].get_ref<const std::string&>();
    } else if (kind == 1) {
      detail::append_utf8(text, point());
    } else {
      text += letters_[below(letters_.size())];
    }
  }

  char32_t point() {
    const std::uint64_t kind = below(100);
    if (kind < 30) return static_cast<char32_t>(0x20 + below(0x5F));
    const auto made = static_cast<char32_t>(kind < 50   ? below(0x800)
                                            : kind < 60 ? below(0x3000)
                                            : kind < 80 ? below(0x10000)
                                            : kind < 95 ? 0x10000 + below(0x10000)
                                                        : 0x20000 + below(0xF0000));
    return made >= 0xD800 && made < 0xE000 ? 0xFFFD : made;
  }

  std::uint64_t state_;
  const Json& pieces_;
  const std::string& letters_;
};

inline void add_window(tests::Fnv& fnv, const Encoding& window) {
  fnv.numbers(window.ids);
  fnv.numbers(window.type_ids);
  fnv.offsets(window.offsets);
  fnv.numbers(window.special_tokens_mask);
  fnv.numbers(window.word_ids);
  fnv.numbers(window.sequence_ids);
}

/// The digest of everything that a case gives, or "error".
inline std::string digest(const Tokenizer& tokenizer, const Case& made) {
  Encoding encoding;
  try {
    encoding = made.encode(tokenizer);
  } catch (const ConfigError&) {
    return "error";
  }
  tests::Fnv fnv;
  add_window(fnv, encoding);
  for (const Encoding& window : encoding.overflowing) add_window(fnv, window);
  fnv.bytes(tokenizer.decode(encoding.ids, false));
  fnv.bytes(tokenizer.decode(encoding.ids, true));
  return fnv.hex();
}

/// An encoding in the words of cases.json, for comparison and for reading.
inline Json to_json(const Encoding& encoding) {
  Json::array_t offsets;
  for (const ByteSpan span : encoding.offsets) {
    offsets.emplace_back(span.begin);
    offsets.emplace_back(span.end);
  }
  return {{"ids", encoding.ids},           {"type_ids", encoding.type_ids},
          {"offsets", std::move(offsets)}, {"special", encoding.special_tokens_mask},
          {"words", encoding.word_ids},    {"sequences", encoding.sequence_ids}};
}

/// The whole result of a case, as cases.json has it; null where it is refused.
inline Json result(const Tokenizer& tokenizer, const Case& made) {
  try {
    const Encoding encoding = made.encode(tokenizer);
    Json whole = to_json(encoding);
    whole["overflow"] = Json::array();
    for (const Encoding& window : encoding.overflowing)
      whole["overflow"].push_back(to_json(window));
    whole["decoded"] = tokenizer.decode(encoding.ids, false);
    whole["decoded_plain"] = tokenizer.decode(encoding.ids, true);
    return whole;
  } catch (const ConfigError&) {
    return nullptr;
  }
}

}  // namespace eigenformer::oracle
