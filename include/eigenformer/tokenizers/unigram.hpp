// The unigram language model (Kudo, arXiv:1804.10959): of all ways to cut a word into pieces, the
// one whose scores, logarithms of probabilities, have the largest sum (Viterbi). Mirrors
// encode_optimized of tokenizers/src/models/unigram/model.rs: of equal sums the first found counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

/// Finds all pieces that a text begins with. The children of a node lie side by side, so that the
/// byte that leads to each is found in a row of bytes.
class PieceTrie {
 public:
  PieceTrie() = default;

  explicit PieceTrie(const Vocabulary& vocabulary) {
    std::vector<std::pair<std::string_view, TokenId>> sorted;
    for (std::size_t i = 0; i < vocabulary.end_id(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (const auto piece = vocabulary.find(id)) sorted.emplace_back(*piece, id);
    }
    std::sort(sorted.begin(), sorted.end());
    // The pieces below each node, all of which begin with `depth` bytes in common.
    struct Range {
      std::size_t begin, end, depth;
    };
    std::vector<Range> ranges{{0, sorted.size(), 0}};
    nodes_.emplace_back();
    bytes_ += '\0';
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      auto [begin, end, depth] = ranges[i];
      if (begin < end && sorted[begin].first.size() == depth) nodes_[i].id = sorted[begin++].second;
      nodes_[i].first_child = static_cast<std::uint32_t>(nodes_.size());
      while (begin < end) {
        const char byte = sorted[begin].first[depth];
        const std::size_t first = begin;
        while (begin < end && sorted[begin].first[depth] == byte) ++begin;
        ranges.push_back({first, begin, depth + 1});
        nodes_.emplace_back();
        bytes_ += byte;
        ++nodes_[i].children;
      }
    }
  }

  /// Calls emit(size, id) for each piece that the text begins with, the shortest first.
  template <class Emit>
  void for_each_prefix(std::string_view text, Emit&& emit) const {
    const Node* node = nodes_.data();
    for (std::size_t size = 1; size <= text.size(); ++size) {
      const std::string_view row(bytes_.data() + node->first_child, node->children);
      const std::size_t child = row.find(text[size - 1]);
      if (child == row.npos) return;
      node = &nodes_[node->first_child + child];
      if (node->id >= 0) emit(size, node->id);
    }
  }

 private:
  struct Node {
    TokenId id = -1;  // of the piece that ends here
    std::uint32_t first_child = 0;
    std::uint32_t children = 0;
  };

  std::vector<Node> nodes_;  // level by level
  std::string bytes_;        // the one that leads to each node
};

class Unigram final : public TokenModel {
 public:
  /// `scores` are by id; `unknown` is the piece for characters that are no piece.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, TokenId unknown, bool byte_fallback)
      : vocabulary_(std::move(vocabulary)),
        scores_(std::move(scores)),
        trie_(vocabulary_),
        unknown_(unknown),
        unknown_score_(*std::min_element(scores_.begin(), scores_.end()) - 10),
        byte_fallback_(byte_fallback) {}

  void encode(std::string_view word, ModelScratch& scratch,
              std::vector<Piece>& pieces) const override {
    pieces.clear();
    find_best(word, scratch);
    // From the end to the beginning; neighbouring unknown pieces become one.
    std::size_t unknown_end = 0;
    for (std::size_t end = word.size(); end > 0;) {
      const std::size_t begin = scratch.previous[end];
      const auto id = static_cast<TokenId>(scratch.ids[end]);
      if (id == unknown_) {
        if (unknown_end == 0) unknown_end = end;
        if (begin == 0) add_unknown(word, begin, unknown_end, pieces);
      } else {
        if (unknown_end != 0) add_unknown(word, end, unknown_end, pieces);
        unknown_end = 0;
        pieces.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
      }
      end = begin;
    }
    std::reverse(pieces.begin(), pieces.end());
  }

  [[nodiscard]] std::optional<std::string> word_of(TokenId id) const override {
    const auto token = vocabulary_.find(id);
    return token ? std::optional<std::string>(*token) : std::nullopt;
  }

  [[nodiscard]] std::string_view continuing_subword_prefix() const noexcept override { return {}; }

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  /// For each end of a character: the sum of the best way there, and its last piece with where that
  /// begins.
  void find_best(std::string_view word, ModelScratch& scratch) const {
    scratch.scores.resize(word.size() + 1);
    scratch.previous.assign(word.size() + 1, none);
    scratch.ids.resize(word.size() + 1);
    scratch.scores[0] = 0;
    for (std::size_t begin = 0; begin < word.size();) {
      const double so_far = scratch.scores[begin];
      const auto offer = [&](std::size_t end, double score, TokenId id) {
        if (scratch.previous[end] != none && !(so_far + score > scratch.scores[end])) return;
        scratch.scores[end] = so_far + score;
        scratch.previous[end] = static_cast<std::uint32_t>(begin);
        scratch.ids[end] = static_cast<std::uint32_t>(id);
      };
      const std::size_t character = decode_utf8(word.data() + begin).size;
      bool known = false;
      trie_.for_each_prefix(word.substr(begin), [&](std::size_t size, TokenId id) {
        offer(begin + size, scores_[static_cast<std::size_t>(id)], id);
        known = known || size == character;
      });
      if (!known) offer(begin + character, unknown_score_, unknown_);
      begin += character;
    }
  }

  /// Adds the piece of unknown bytes, or those of the single bytes, from the last to the first.
  void add_unknown(std::string_view word, std::size_t begin, std::size_t end,
                   std::vector<Piece>& pieces) const {
    const auto add = [&](TokenId id) {
      pieces.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    };
    const std::string_view bytes = word.substr(begin, end - begin);
    if (const std::optional<TokenId> id = vocabulary_.find(bytes)) return add(*id);
    const std::size_t before = pieces.size();
    for (std::size_t i = bytes.size(); byte_fallback_ && i > 0; --i) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>",
                    static_cast<unsigned>(static_cast<unsigned char>(bytes[i - 1])));
      const std::optional<TokenId> id = vocabulary_.find(std::string_view(name));
      if (!id) {
        pieces.resize(before);
        break;
      }
      add(*id);
    }
    if (pieces.size() == before) add(unknown_);
  }

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  PieceTrie trie_;
  TokenId unknown_;
  double unknown_score_;
  bool byte_fallback_;
};

}  // namespace eigenformer::detail
