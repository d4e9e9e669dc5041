// The pre-tokenizer stage: cuts text into the words that the model sees one by one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/byte_level.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/metaspace.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/unicode_bert.hpp"

namespace eigenformer::detail {

class PreTokenizer {
 public:
  /// Throws ConfigError for a pre-tokenizer that is not supported, by its name.
  static PreTokenizer from_json(const Json& document, const std::string& source) {
    PreTokenizer made;
    const Json& stage = json_stage(document, "pre_tokenizer");
    if (!stage.is_null()) made.add(stage, source);
    return made;
  }

  /// Whether words are sequences of bytes, each with a character in the vocabulary.
  [[nodiscard]] bool byte_level() const noexcept { return byte_level_; }
  /// Whether text that does not begin with a space gets one.
  [[nodiscard]] bool add_prefix_space() const noexcept { return add_prefix_space_; }
  /// What words go through once they are split, if anything.
  [[nodiscard]] const std::optional<Metaspace>& metaspace() const noexcept { return metaspace_; }

  /// Calls emit(begin, end) for each word of a text that is not empty.
  template <class Emit>
  void split(std::string_view text, Emit&& emit) const {
    if (use_regex_) {
      byte_level_splitter_(text, emit);
    } else if (bert_) {
      split_bert(text, emit);
    } else if (white_space_) {
      split_white_space(text, emit);
    } else {
      emit(std::size_t{0}, text.size());
    }
  }

 private:
  void add(const Json& stage, const std::string& source) {
    const std::string& type = stage_type(stage, source, "pre_tokenizer");
    if (type == "Sequence") {
      const auto parts = stage.find("pretokenizers");
      check<FormatError>(parts != stage.end() && parts->is_array(), source,
                         ": pre_tokenizer Sequence needs an array 'pretokenizers'");
      for (const Json& part : *parts) add(part, source);
      return;
    }
    const bool first = !byte_level_ && !bert_ && !white_space_ && !metaspace_;
    check<ConfigError>(first || (type == "Metaspace" && white_space_ && !metaspace_), source,
                       ": pre_tokenizer '", type, "' after another one is not supported");
    bert_ = type == "BertPreTokenizer";
    if (bert_) return;
    if (type == "WhitespaceSplit") {
      white_space_ = true;
      return;
    }
    if (type == "Metaspace") {
      metaspace_ = Metaspace::from_json(stage, source, "pre_tokenizer");
      return;
    }
    check<ConfigError>(type == "ByteLevel", source, ": pre_tokenizer '", type,
                       "' is not supported");
    byte_level_ = true;
    add_prefix_space_ = json_flag(stage, "add_prefix_space", true, source);
    use_regex_ = json_flag(stage, "use_regex", true, source);
  }

  /// Parts words by white space, and makes each punctuation character a word.
  template <class Emit>
  static void split_bert(std::string_view text, Emit&& emit) {
    std::size_t begin = 0;
    const auto end_word = [&](std::size_t end) {
      if (begin < end) emit(begin, end);
    };
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Char next = decode_utf8(text.data() + at);
      const std::size_t end = at + next.size;
      const std::uint32_t kind = bert_kind(next.point);
      if ((kind & (bert_white | bert_punctuation)) != 0) {
        end_word(at);
        begin = at;
        if ((kind & bert_punctuation) != 0) end_word(end);
        begin = end;
      }
      at = end;
    }
    end_word(text.size());
  }

  /// Parts words by white space.
  template <class Emit>
  static void split_white_space(std::string_view text, Emit&& emit) {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Char next = decode_utf8(text.data() + at);
      const std::size_t end = at + next.size;
      if (classes.is_space(next.point)) {
        if (begin < at) emit(begin, at);
        begin = end;
      }
      at = end;
    }
    if (begin < text.size()) emit(begin, text.size());
  }

  ByteLevelSplitter byte_level_splitter_;
  std::optional<Metaspace> metaspace_;
  bool white_space_ = false;
  bool bert_ = false;
  bool byte_level_ = false;
  bool add_prefix_space_ = false;
  bool use_regex_ = false;
};

}  // namespace eigenformer::detail
