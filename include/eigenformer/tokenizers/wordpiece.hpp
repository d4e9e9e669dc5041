// WordPiece as BERT cuts words (Schuster and Nakajima, 2012; Wu et al., arXiv:1609.08144): the
// longest token that the word begins with, then the longest that goes on from there, and so on. A
// word that cannot be cut to its end is one unknown token.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

/// What tokenizer.json says of a WordPiece model besides its vocabulary.
struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  std::size_t max_input_chars_per_word = 100;
};

class WordPiece final : public TokenModel {
 public:
  /// Throws FormatError naming `source` where the unknown token is not in the vocabulary.
  WordPiece(Vocabulary vocabulary, WordPieceOptions options, std::string_view source)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    const std::optional<TokenId> unknown = vocabulary_.find(options_.unk_token);
    check<FormatError>(unknown.has_value(), source, ": the unknown token '", options_.unk_token,
                       "' is not in the vocabulary, so that some words would have no token");
    unknown_ = *unknown;
  }

  void encode(std::string_view word, ModelScratch&, std::vector<Piece>& pieces) const override {
    pieces.clear();
    const auto size = static_cast<std::uint32_t>(word.size());
    // Bytes first: most words are shorter than that.
    bool known = word.size() <= options_.max_input_chars_per_word ||
                 count_characters(word) <= options_.max_input_chars_per_word;
    std::string continued;  // the prefix, and the rest of the word
    for (std::size_t begin = 0; known && begin < word.size();) {
      std::string_view rest = word.substr(begin);
      if (begin > 0) {
        continued = options_.continuing_subword_prefix;
        continued += rest;
        rest = continued;
      }
      const std::size_t prefix = begin > 0 ? options_.continuing_subword_prefix.size() : 0;
      std::optional<TokenId> id;
      while (rest.size() > prefix && !(id = vocabulary_.find(rest))) {
        do rest.remove_suffix(1);
        while (rest.size() > prefix && is_continuation(rest.data()[rest.size()]));
      }
      known = id.has_value();
      if (!known) break;
      const std::size_t end = begin + rest.size() - prefix;
      pieces.push_back({*id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
      begin = end;
    }
    if (!known) pieces.assign(1, {unknown_, 0, size});
  }

  [[nodiscard]] std::optional<std::string> word_of(TokenId id) const override {
    const auto token = vocabulary_.find(id);
    return token ? std::optional<std::string>(*token) : std::nullopt;
  }

  [[nodiscard]] std::string_view continuing_subword_prefix() const noexcept override {
    return options_.continuing_subword_prefix;
  }

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  WordPieceOptions options_;
  TokenId unknown_ = 0;
};

}  // namespace eigenformer::detail
