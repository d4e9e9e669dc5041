// Metaspace: spaces become a visible character, which words begin with, as in SentencePiece (Kudo
// and Richardson, arXiv:1808.06226). Mirrors tokenizers/src/pre_tokenizers/metaspace.rs.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/aligned_text.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"

namespace eigenformer::detail {

class Metaspace {
 public:
  /// `what` is the stage that it stands for. Throws FormatError, and ConfigError for a
  /// prepend_scheme that is not supported.
  static Metaspace from_json(const Json& stage, const std::string& source, std::string_view what) {
    Metaspace made;
    made.replacement_ = json_text(stage, "replacement", source).value_or("");
    check<FormatError>(count_characters(made.replacement_) == 1, source, ": ", what,
                       " Metaspace: 'replacement' must be one character, not '", made.replacement_,
                       "'");
    const std::string scheme = json_text(stage, "prepend_scheme", source).value_or("always");
    check<ConfigError>(scheme == "always" || scheme == "first" || scheme == "never", source, ": ",
                       what, " Metaspace: prepend_scheme '", scheme, "' is not supported");
    made.prepend_ = scheme == "always"  ? Prepend::always
                    : scheme == "first" ? Prepend::first
                                        : Prepend::never;
    // What files had before there was prepend_scheme; the reference refuses both together.
    if (!json_flag(stage, "add_prefix_space", true, source)) {
      check<FormatError>(scheme == "never" || !stage.contains("prepend_scheme"), source, ": ", what,
                         " Metaspace: add_prefix_space false contradicts prepend_scheme '", scheme,
                         "'");
      made.prepend_ = Prepend::never;
    }
    made.split_ = json_flag(stage, "split", true, source);
    return made;
  }

  /// Appends a text that is not empty to `out`, and where its words end to `ends`.
  void append(const PieceText& piece, AlignedText& out, std::vector<std::size_t>& ends) const {
    const std::string_view text = piece.text;
    const ByteSpan first = piece.place(0, 1);
    const bool marked = text.front() == ' ' || text.starts_with(replacement_);
    if (!marked &&
        (prepend_ == Prepend::always || (prepend_ == Prepend::first && first.begin == 0)))
      out.append(replacement_, first);
    for (std::size_t at = 0; at < text.size();) {
      const bool mark = text[at] == ' ' || text.substr(at).starts_with(replacement_);
      if (mark && split_ && at > 0) ends.push_back(out.text.size());
      const std::size_t size = decode_utf8(text.data() + at).size;
      const std::string_view same = text.substr(at, size);
      out.append(mark ? std::string_view(replacement_) : same, piece.whole(at, at + size));
      at += size;
    }
    ends.push_back(out.text.size());
  }

  /// Appends a token with spaces again, but for the one that was put in front of the first.
  void append_decoded(std::string& text, std::string_view token, bool first) const {
    while (!token.empty()) {
      const std::size_t mark = token.find(replacement_);
      text += token.substr(0, mark);
      if (mark == token.npos) return;
      if (!first || prepend_ == Prepend::never) text += ' ';
      token.remove_prefix(mark + replacement_.size());
    }
  }

 private:
  enum class Prepend { always, first, never };

  std::string replacement_;
  Prepend prepend_ = Prepend::always;
  bool split_ = true;
};

}  // namespace eigenformer::detail
