// The decoder stage: tokens back to text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/byte_level.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/metaspace.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer::detail {

class Decoder {
 public:
  /// Throws ConfigError for a decoder that is not supported, by its name.
  static Decoder from_json(const Json& document, const std::string& source) {
    Decoder made;
    const Json& stage = json_stage(document, "decoder");
    if (!stage.is_null()) made.add(stage, source);
    return made;
  }

  /// Appends one token to what will be the text.
  void append(std::string& bytes, std::string_view token, bool first) const {
    if (word_piece_) return append_word_piece(bytes, token, first);
    if (metaspace_) return metaspace_->append_decoded(bytes, token, first);
    if (!byte_level_) {
      if (!first) bytes += ' ';
      bytes += token;
      return;
    }
    const std::size_t before = bytes.size();
    for (std::size_t at = 0; at < token.size();) {
      const Utf8Char next = decode_utf8(token.data() + at);
      if (next.point >= character_bytes.size() || character_bytes[next.point] < 0) {
        bytes.resize(before);
        bytes += token;  // a token with another character stands for itself
        return;
      }
      bytes += static_cast<char>(character_bytes[next.point]);
      at += next.size;
    }
  }

  /// The text, once all tokens are there: what is not UTF-8 becomes U+FFFD.
  [[nodiscard]] std::string finish(std::string bytes) const {
    return valid_prefix(bytes) == bytes.size() ? bytes : repair(bytes).text;
  }

 private:
  void add(const Json& stage, const std::string& source) {
    const std::string& type = stage_type(stage, source, "decoder");
    if (type == "Sequence") {
      const auto parts = stage.find("decoders");
      check<FormatError>(parts != stage.end() && parts->is_array() && parts->size() == 1, source,
                         ": decoder Sequence is supported with exactly one decoder");
      return add(parts->front(), source);
    }
    word_piece_ = type == "WordPiece";
    byte_level_ = type == "ByteLevel";
    if (type == "Metaspace") {
      metaspace_ = Metaspace::from_json(stage, source, "decoder");
      return;
    }
    check<ConfigError>(word_piece_ || byte_level_, source, ": decoder '", type,
                       "' is not supported");
    if (word_piece_) {
      prefix_ = json_text(stage, "prefix", source).value_or("##");
      cleanup_ = json_flag(stage, "cleanup", true, source);
    }
  }

  /// Mirrors tokenizers/src/decoders/wordpiece.rs, which cleans each token up by itself.
  void append_word_piece(std::string& bytes, std::string_view token, bool first) const {
    std::string piece(token);
    if (!first && token.starts_with(prefix_))
      piece.erase(0, prefix_.size());
    else if (!first)
      piece.insert(0, 1, ' ');
    static constexpr std::string_view replacements[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto& [from, to] : replacements) {
      for (std::size_t at = 0; cleanup_ && (at = piece.find(from, at)) != piece.npos;) {
        piece.replace(at, from.size(), to);
        at += to.size();
      }
    }
    bytes += piece;
  }

  std::optional<Metaspace> metaspace_;
  bool byte_level_ = false;
  bool word_piece_ = false;
  std::string prefix_;
  bool cleanup_ = false;
};

}  // namespace eigenformer::detail
