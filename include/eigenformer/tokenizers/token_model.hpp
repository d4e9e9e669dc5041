// The model stage: words in, tokens out. BPE, WordPiece and Unigram.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

/// A token of a word: bytes `begin` to `end` of it.
struct Piece {
  TokenId id;
  std::uint32_t begin;
  std::uint32_t end;
};

/// Memory that a model needs while it works, kept from word to word.
struct ModelScratch {
  std::vector<std::uint32_t> ids;
  std::vector<std::uint32_t> sizes;
  std::vector<std::uint32_t> previous;
  std::vector<std::uint32_t> next;
  std::vector<std::uint64_t> heap;
  std::vector<double> scores;
};

/// Const and without state: any number of threads may use one, each with its own scratch.
class TokenModel {
 public:
  TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;
  virtual ~TokenModel() = default;

  /// Replaces `pieces` by the tokens of one word.
  virtual void encode(std::string_view word, ModelScratch& scratch,
                      std::vector<Piece>& pieces) const = 0;

  /// The word that might become this token and nothing else, if there is one.
  [[nodiscard]] virtual std::optional<std::string> word_of(TokenId id) const = 0;

  /// What tokens within a word begin with, such as "##"; empty: nothing marks them.
  [[nodiscard]] virtual std::string_view continuing_subword_prefix() const noexcept = 0;

  [[nodiscard]] virtual const Vocabulary& vocabulary() const noexcept = 0;
};

}  // namespace eigenformer::detail
