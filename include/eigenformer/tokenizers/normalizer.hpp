// The normalizer stage: text in, changed text out, with the way back to the bytes it came from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/unicode_bert.hpp"
#include "eigenformer/tokenizers/unicode_case.hpp"

namespace eigenformer::detail {

/// Text with the bytes of the input that each of its bytes stands for.
struct AlignedText {
  std::string text;
  std::vector<ByteSpan> spans;  ///< `[text.size()]`

  /// Appends a character that stands for the bytes `span`.
  void append(char32_t point, const ByteSpan& span) {
    append_utf8(text, point);
    spans.resize(text.size(), span);
  }
};

/// BERT's: cleans text, puts spaces around Chinese characters, takes accents away and makes letters
/// small. Mirrors tokenizers/src/normalizers/bert.rs.
struct BertNormalizer {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;

  /// The text, which begins at byte `base` of the input.
  [[nodiscard]] AlignedText operator()(std::string_view text, std::size_t base) const {
    AlignedText out;
    out.text.reserve(text.size());
    out.spans.reserve(text.size());
    Waiting waiting;
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Char next = decode_utf8(text.data() + at);
      const ByteSpan span{static_cast<std::uint32_t>(base + at),
                          static_cast<std::uint32_t>(base + at + next.size)};
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

class Normalizer {
 public:
  /// Throws ConfigError for a normalizer that is not supported, by its name.
  static Normalizer from_json(const Json& document, const std::string& source) {
    Normalizer made;
    const Json& stage = json_stage(document, "normalizer");
    if (stage.is_null()) return made;
    const std::string& type = stage_type(stage, source, "normalizer");
    check<ConfigError>(type == "BertNormalizer", source, ": normalizer '", type,
                       "' is not supported");
    BertNormalizer& bert = made.bert_.emplace();
    bert.clean_text = json_flag(stage, "clean_text", true, source);
    bert.handle_chinese_chars = json_flag(stage, "handle_chinese_chars", true, source);
    bert.lowercase = json_flag(stage, "lowercase", true, source);
    bert.strip_accents = json_flag(stage, "strip_accents", bert.lowercase, source);
    return made;
  }

  /// Whether text stays as it is.
  [[nodiscard]] bool empty() const noexcept { return !bert_.has_value(); }

  /// What becomes of a text that begins at byte `base` of the input; not where it is empty().
  [[nodiscard]] AlignedText operator()(std::string_view text, std::size_t base) const {
    return (*bert_)(text, base);
  }

 private:
  std::optional<BertNormalizer> bert_;
};

}  // namespace eigenformer::detail
