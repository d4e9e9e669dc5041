// The normalizer stage: text in, changed text out, with the way back to the bytes it came from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/aligned_text.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/precompiled.hpp"
#include "eigenformer/tokenizers/unicode_bert.hpp"
#include "eigenformer/tokenizers/unicode_case.hpp"
#include "eigenformer/tokenizers/unicode_decomposition.hpp"

namespace eigenformer::detail {

/// BERT's: cleans text, puts spaces around Chinese characters, takes accents away and makes letters
/// small. Mirrors tokenizers/src/normalizers/bert.rs.
struct BertNormalizer {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;

  [[nodiscard]] bool changes(std::string_view) const noexcept { return true; }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    AlignedText out;
    out.reserve(in.text.size());
    Waiting waiting;
    for (std::size_t at = 0; at < in.text.size();) {
      const Utf8Char next = decode_utf8(in.text.data() + at);
      const ByteSpan span = in.whole(at, at + next.size);
      at += next.size;
      char32_t point = next.point;
      if (clean_text) {
        const std::uint32_t kind = bert_kind(point);
        if ((kind & bert_removed) != 0) continue;
        if ((kind & bert_blank) != 0) point = ' ';
      }
      const bool spaced = handle_chinese_chars && is_bert_chinese(point);
      if (spaced) add(out, waiting, ' ', span);
      add(out, waiting, point, span);
      if (spaced) add(out, waiting, ' ', span);
    }
    flush(out, waiting);
    return out;
  }

 private:
  /// Combining characters in order, and what they stand for: as in tokenizers, the first of them
  /// stands for what came first, whichever it is.
  struct Waiting {
    std::vector<std::pair<char32_t, char32_t>> points;  // with their classes
    std::vector<ByteSpan> spans;
  };

  void add(AlignedText& out, Waiting& waiting, char32_t point, const ByteSpan& span) const {
    if (!strip_accents) return append(out, point, span);
    without_accents(point, [&](char32_t bare) {
      const char32_t order = combining_class(bare);
      if (order == 0) {
        flush(out, waiting);
        if (!is_mark(bare)) append(out, bare, span);
        return;
      }
      auto place = waiting.points.end();  // behind those of the same class
      while (place != waiting.points.begin() && (place - 1)->second > order) --place;
      waiting.points.insert(place, {bare, order});
      waiting.spans.push_back(span);
    });
  }

  void flush(AlignedText& out, Waiting& waiting) const {
    for (std::size_t i = 0; i < waiting.points.size(); ++i) {
      const char32_t point = waiting.points[i].first;
      if (!is_mark(point)) append(out, point, waiting.spans[i]);
    }
    waiting.points.clear();
    waiting.spans.clear();
  }

  static bool is_mark(char32_t point) noexcept {
    return point >= 0x300 && (bert_kind(point) & bert_mark) != 0;
  }

  void append(AlignedText& out, char32_t point, const ByteSpan& span) const {
    if (!lowercase) return out.append(point, span);
    append_lower(out.text, point);
    out.spans.resize(out.text.size(), span);
  }
};

/// Whether there are characters beyond ASCII.
[[nodiscard]] inline bool beyond_ascii(std::string_view text) noexcept {
  return std::ranges::any_of(text, [](char c) { return (c & 0x80) != 0; });
}

/// Compatibility decomposition, with combining characters in order.
struct Nfkd {
  [[nodiscard]] bool changes(std::string_view text) const noexcept { return beyond_ascii(text); }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    std::vector<CharacterChange> made;
    made.reserve(in.text.size());
    std::size_t ordered = 0;
    const auto in_order = [&] {
      std::stable_sort(made.begin() + static_cast<std::ptrdiff_t>(ordered), made.end(),
                       [](const CharacterChange& a, const CharacterChange& b) {
                         return combining_class(a.point) < combining_class(b.point);
                       });
      ordered = made.size();
    };
    for (std::size_t at = 0; at < in.text.size();) {
      const Utf8Char next = decode_utf8(in.text.data() + at);
      std::ptrdiff_t change = 0;
      decompose(next.point, [&](char32_t point) {
        if (point < 0x300 || combining_class(point) == 0) {
          if (made.size() > ordered + 1) in_order();
          ordered = made.size() + 1;
        }
        made.push_back({point, change});
        change = 1;
      });
      at += next.size;
    }
    in_order();
    return transform(in, made);
  }
};

/// Takes combining marks away.
struct StripAccents {
  [[nodiscard]] bool changes(std::string_view text) const noexcept { return beyond_ascii(text); }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    AlignedText out;
    out.reserve(in.text.size());
    for (std::size_t at = 0; at < in.text.size();) {
      const Utf8Char next = decode_utf8(in.text.data() + at);
      if (next.point < 0x300 || !is_combining_mark(next.point)) out.append(in, at, at + next.size);
      at += next.size;
    }
    return out;
  }
};

/// Makes letters small, one by one.
struct Lowercase {
  [[nodiscard]] bool changes(std::string_view text) const noexcept {
    return std::ranges::any_of(text,
                               [](char c) { return (c & 0x80) != 0 || (c >= 'A' && c <= 'Z'); });
  }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    AlignedText out;
    out.reserve(in.text.size());
    for (std::size_t at = 0; at < in.text.size();) {
      const Utf8Char next = decode_utf8(in.text.data() + at);
      append_lower(out.text, next.point);
      out.spans.resize(out.text.size(), in.whole(at, at + next.size));
      at += next.size;
    }
    return out;
  }
};

/// Takes the white space at the ends away.
struct Strip {
  bool left = true;
  bool right = true;

  [[nodiscard]] bool changes(std::string_view text) const noexcept {
    return kept(text) != std::pair(std::size_t{0}, text.size());
  }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    const std::pair<std::size_t, std::size_t> ends = kept(in.text);
    AlignedText out;
    out.append(in, ends.first, ends.second);
    return out;
  }

 private:
  [[nodiscard]] std::pair<std::size_t, std::size_t> kept(std::string_view text) const noexcept {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (left && begin < end) {
      const Utf8Char next = decode_utf8(text.data() + begin);
      if (!classes.is_space(next.point)) break;
      begin += next.size;
    }
    while (right && begin < end) {
      const Utf8Char before = decode_utf8_before(text.data() + end);
      if (!classes.is_space(before.point)) break;
      end -= before.size;
    }
    return {begin, end};
  }
};

/// Replaces a string wherever it is, or each run of two or more spaces. The new characters stand
/// for the last one that they replace.
struct Replace {
  std::string pattern;  ///< empty: two or more spaces
  std::string content;

  [[nodiscard]] bool changes(std::string_view text) const noexcept {
    return find(text, 0).first != text.npos;
  }

  [[nodiscard]] AlignedText operator()(const PieceText& in) const {
    AlignedText out;
    out.reserve(in.text.size());
    for (std::size_t at = 0;;) {
      const auto [begin, end] = find(in.text, at);
      out.append(in, at, std::min(begin, in.text.size()));
      if (begin == std::string_view::npos) return out;
      out.append(content, in.place(end - 1, end));
      at = end;
    }
  }

 private:
  /// The first match from `at` on, which begins at npos where there is none.
  [[nodiscard]] std::pair<std::size_t, std::size_t> find(std::string_view text,
                                                         std::size_t at) const noexcept {
    const std::size_t begin = text.find(pattern.empty() ? "  " : std::string_view(pattern), at);
    if (begin == text.npos || !pattern.empty()) return {begin, begin + pattern.size()};
    return {begin, std::min(text.find_first_not_of(' ', begin), text.size())};
  }
};

/// A list of steps.
class Normalizer {
 public:
  /// Throws ConfigError for a normalizer that is not supported, by its name.
  static Normalizer from_json(const Json& document, const std::string& source) {
    Normalizer made;
    const Json& stage = json_stage(document, "normalizer");
    if (!stage.is_null()) made.add(stage, source);
    return made;
  }

  /// Whether text stays as it is.
  [[nodiscard]] bool empty() const noexcept { return steps_.empty(); }

  /// What becomes of a text; `memory` holds it, where it is not the text itself.
  [[nodiscard]] PieceText operator()(PieceText text, AlignedText& memory) const {
    for (const Step& step : steps_) {
      std::visit(
          [&](const auto& normalize) {
            if (!normalize.changes(text.text)) return;
            memory = normalize(text);
            text = memory.piece();
          },
          step);
    }
    return text;
  }

 private:
  using Step =
      std::variant<BertNormalizer, Precompiled, Nfkd, StripAccents, Lowercase, Strip, Replace>;

  void add(const Json& stage, const std::string& source) {
    const std::string& type = stage_type(stage, source, "normalizer");
    if (type == "Sequence") {
      const auto parts = stage.find("normalizers");
      check<FormatError>(parts != stage.end() && parts->is_array(), source,
                         ": normalizer Sequence needs an array 'normalizers'");
      for (const Json& part : *parts) add(part, source);
    } else if (type == "BertNormalizer") {
      BertNormalizer bert;
      bert.clean_text = json_flag(stage, "clean_text", true, source);
      bert.handle_chinese_chars = json_flag(stage, "handle_chinese_chars", true, source);
      bert.lowercase = json_flag(stage, "lowercase", true, source);
      bert.strip_accents = json_flag(stage, "strip_accents", bert.lowercase, source);
      steps_.emplace_back(bert);
    } else if (type == "Precompiled") {
      const std::optional<std::string> text = json_text(stage, "precompiled_charsmap", source);
      const std::optional<std::string> bytes = decode_base64(text.value_or("?"));
      check<FormatError>(bytes.has_value(), source,
                         ": normalizer Precompiled: 'precompiled_charsmap' must be Base64");
      steps_.emplace_back(Precompiled(*bytes, source));
    } else if (type == "NFKD") {
      steps_.emplace_back(Nfkd());
    } else if (type == "StripAccents") {
      steps_.emplace_back(StripAccents());
    } else if (type == "Lowercase") {
      steps_.emplace_back(Lowercase());
    } else if (type == "Strip") {
      steps_.emplace_back(Strip{json_flag(stage, "strip_left", true, source),
                                json_flag(stage, "strip_right", true, source)});
    } else if (type == "Replace") {
      steps_.emplace_back(read_replace(stage, source));
    } else {
      fail<ConfigError>(source, ": normalizer '", type, "' is not supported");
    }
  }

  static Replace read_replace(const Json& stage, const std::string& source) {
    const auto pattern = stage.find("pattern");
    check<FormatError>(pattern != stage.end() && pattern->is_object() && pattern->size() == 1,
                       source, ": normalizer Replace needs a 'pattern' with a String or a Regex");
    Replace replace;
    replace.content = json_text(stage, "content", source).value_or("");
    if (const std::optional<std::string> regex = json_text(*pattern, "Regex", source)) {
      check<ConfigError>(*regex == " {2,}", source, ": normalizer Replace: Regex '", *regex,
                         "' is not supported, only ' {2,}' is");
      return replace;
    }
    replace.pattern = json_text(*pattern, "String", source).value_or("");
    check<ConfigError>(!replace.pattern.empty(), source,
                       ": normalizer Replace with an empty pattern is not supported");
    return replace;
  }

  std::vector<Step> steps_;
};

}  // namespace eigenformer::detail
