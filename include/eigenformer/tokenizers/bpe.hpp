// Byte-pair encoding (Sennrich et al., arXiv:1508.07909): of all neighbouring symbols of a word,
// the pair with the lowest rank is joined, the leftmost first, until no pair has a rank. Symbols
// start as bytes, where the pre-tokenizer is byte-level, or as characters. Short words scan for the
// lowest rank; long ones use a heap, so that a word of n symbols takes O(n log n).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/tokenizers/byte_level.hpp"
#include "eigenformer/tokenizers/hash_tables.hpp"
#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

/// What tokenizer.json says of a BPE model besides vocabulary and merges.
struct BpeOptions {
  bool byte_level = true;  ///< words come from a byte-level pre-tokenizer
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
};

using Merges = std::vector<std::pair<std::string, std::string>>;

class Bpe final : public TokenModel {
 public:
  /// Throws FormatError naming `source` and the merge whose parts or result are not tokens, and
  /// ConfigError for options that contradict each other.
  Bpe(Vocabulary vocabulary, const Merges& merges, BpeOptions options, std::string_view source)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)), ranks_(merges.size()) {
    merged_.reserve(merges.size());
    std::string joined;
    for (const auto& pair : merges) {
      const std::string_view left = pair.first;  // clang 14 captures no structured bindings
      const std::string_view right = pair.second;
      const auto part = [&](std::string_view token) {
        const std::optional<TokenId> id = vocabulary_.find(token);
        check<FormatError>(id.has_value(), source, ": merge ", merged_.size() + 1, " ('", left,
                           "' and '", right, "'): '", token, "' is not in the vocabulary");
        return static_cast<std::uint32_t>(*id);
      };
      const std::size_t prefix = options_.continuing_subword_prefix.size();
      check<FormatError>(right.size() >= prefix, source, ": merge ", merged_.size() + 1, " ('",
                         left, "' and '", right, "'): the second part lacks the prefix '",
                         options_.continuing_subword_prefix, "'");
      joined.assign(left).append(right.substr(prefix));
      // Of two equal merges the later one counts.
      ranks_.insert(part(left), part(right), static_cast<std::uint32_t>(merged_.size()));
      merged_.push_back(part(joined));
    }
    if (options_.unk_token) {
      const std::optional<TokenId> id = vocabulary_.find(*options_.unk_token);
      check<ConfigError>(id.has_value(), source, ": unk_token '", *options_.unk_token,
                         "' is not in the vocabulary");
      unknown_ = static_cast<std::uint32_t>(*id);
    }
    const bool decorated =
        !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
    bool all_bytes = !decorated;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::string spelling = byte_spelling(byte);
      byte_ids_[byte] = id_or_none(spelling);
      all_bytes &= byte_ids_[byte] != none;
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
      fallback_ids_[byte] = id_or_none(name);
    }
    simple_ = options_.byte_level && all_bytes;
    check<ConfigError>(simple_ || !options_.byte_fallback || (!options_.byte_level && !decorated),
                       source,
                       ": byte_fallback is supported neither with byte-level words whose bytes are "
                       "not all in the vocabulary, nor with subword prefixes or suffixes");
  }

  void encode(std::string_view word, ModelScratch& scratch,
              std::vector<Piece>& pieces) const override {
    pieces.clear();
    if (word.empty()) return;
    if (options_.ignore_merges) {
      if (const auto id = vocabulary_.find(options_.byte_level ? spelled(word) : word)) {
        pieces.push_back({*id, 0, static_cast<std::uint32_t>(word.size())});
        return;
      }
    }
    if (simple_ && word.size() <= small) return encode_small(word, pieces);
    start(word, scratch);
    merge(scratch);
    std::uint32_t begin = 0;
    for (std::size_t i = 0; i < scratch.ids.size(); ++i) {
      const std::uint32_t size = scratch.sizes[i];
      if (size == 0) continue;
      pieces.push_back({static_cast<TokenId>(scratch.ids[i]), begin, begin + size});
      begin += size;
    }
    if (options_.byte_level && !simple_) place_in_bytes(word, pieces);
  }

  [[nodiscard]] std::optional<std::string> word_of(TokenId id) const override {
    const std::optional<std::string_view> token = vocabulary_.find(id);
    if (!token || !options_.continuing_subword_prefix.empty() ||
        !options_.end_of_word_suffix.empty()) {
      return std::nullopt;
    }
    if (options_.byte_level) return byte_level_bytes(*token);
    return std::string(*token);
  }

  [[nodiscard]] std::string_view continuing_subword_prefix() const noexcept override {
    return options_.continuing_subword_prefix;
  }

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept override { return vocabulary_; }

 private:
  static constexpr std::uint32_t none = PairTable::none;
  static constexpr std::size_t small = 48;  // bytes that are merged by scanning

  [[nodiscard]] std::uint32_t id_or_none(std::string_view token) const noexcept {
    const std::optional<TokenId> id = vocabulary_.find(token);
    return id ? static_cast<std::uint32_t>(*id) : none;
  }

  [[nodiscard]] static std::string spelled(std::string_view word) {
    std::string spelling;
    for (const char byte : word) spelling += byte_spelling(static_cast<unsigned char>(byte));
    return spelling;
  }

  /// The common case: every byte is a symbol, and there are few.
  void encode_small(std::string_view word, std::vector<Piece>& pieces) const {
    std::array<std::uint32_t, small> ids;
    std::array<std::uint32_t, small> ranks;  // of symbols i and i + 1
    std::array<std::uint32_t, small + 1> begins;
    std::size_t count = word.size();
    for (std::size_t i = 0; i < count; ++i) {
      ids[i] = byte_ids_[static_cast<unsigned char>(word[i])];
      begins[i] = static_cast<std::uint32_t>(i);
    }
    begins[count] = static_cast<std::uint32_t>(count);
    for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = ranks_.find(ids[i], ids[i + 1]);
    while (count > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < count; ++i) {
        if (ranks[i] < ranks[best]) best = i;
      }
      if (ranks[best] == none) break;
      ids[best] = merged_[ranks[best]];
      --count;
      for (std::size_t i = best + 1; i < count; ++i) ids[i] = ids[i + 1];
      for (std::size_t i = best + 1; i <= count; ++i) begins[i] = begins[i + 1];
      for (std::size_t i = best + 1; i + 1 < count; ++i) ranks[i] = ranks[i + 1];
      if (best > 0) ranks[best - 1] = ranks_.find(ids[best - 1], ids[best]);
      if (best + 1 < count) ranks[best] = ranks_.find(ids[best], ids[best + 1]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      pieces.push_back({static_cast<TokenId>(ids[i]), begins[i], begins[i + 1]});
    }
  }

  /// The symbols that a word starts as. Sizes count the bytes of the word's spelling. A character
  /// without a token is lost where there is no unk_token, and what follows moves into its place.
  void start(std::string_view word, ModelScratch& scratch) const {
    scratch.ids.clear();
    scratch.sizes.clear();
    const auto add = [&](std::uint32_t id, std::size_t size) {
      scratch.ids.push_back(id);
      scratch.sizes.push_back(static_cast<std::uint32_t>(size));
    };
    if (simple_) {
      for (const char byte : word) add(byte_ids_[static_cast<unsigned char>(byte)], 1);
      return;
    }
    std::size_t unknown_size = 0;
    const auto end_unknown = [&] {
      if (unknown_size > 0) add(unknown_, unknown_size);
      unknown_size = 0;
    };
    std::string symbol;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t step = options_.byte_level ? 1 : decode_utf8(word.data() + at).size;
      const std::string_view bytes = word.substr(at, step);
      const std::string spelling = options_.byte_level ? spelled(bytes) : std::string(bytes);
      const std::size_t size = spelling.size();
      symbol = at > 0 ? options_.continuing_subword_prefix + spelling : spelling;
      at += step;
      if (at == word.size()) symbol += options_.end_of_word_suffix;
      if (const std::uint32_t id = id_or_none(symbol); id != none) {
        end_unknown();
        add(id, size);
      } else if (options_.byte_fallback && has_fallback(bytes)) {
        // HF leaves a pending unknown where it is: it lands after these.
        for (const char byte : bytes) add(fallback_ids_[static_cast<unsigned char>(byte)], 1);
      } else if (unknown_ != none) {
        if (!options_.fuse_unk) end_unknown();
        unknown_size += size;
      }
    }
    end_unknown();
  }

  [[nodiscard]] bool has_fallback(std::string_view bytes) const noexcept {
    return std::all_of(bytes.begin(), bytes.end(), [&](char byte) {
      return fallback_ids_[static_cast<unsigned char>(byte)] != none;
    });
  }

  /// Merges with a heap of (rank, place); symbols that were merged away get size 0.
  void merge(ModelScratch& scratch) const {
    auto& ids = scratch.ids;
    auto& sizes = scratch.sizes;
    auto& previous = scratch.previous;
    auto& next = scratch.next;
    auto& heap = scratch.heap;
    const auto later = [](std::uint64_t a, std::uint64_t b) { return a > b; };
    const std::size_t count = ids.size();
    previous.resize(count);
    next.resize(count);
    heap.clear();
    const auto entry = [](std::uint32_t rank, std::uint32_t place) {
      return std::uint64_t{rank} << 32 | place;
    };
    for (std::uint32_t i = 0; i < count; ++i) {
      previous[i] = i == 0 ? none : i - 1;
      next[i] = i + 1 == count ? none : i + 1;
      if (i + 1 == count) continue;
      const std::uint32_t rank = ranks_.find(ids[i], ids[i + 1]);
      if (rank != none) heap.push_back(entry(rank, i));
    }
    std::make_heap(heap.begin(), heap.end(), later);
    const auto push = [&](std::uint32_t left, std::uint32_t right) {
      const std::uint32_t rank = ranks_.find(ids[left], ids[right]);
      if (rank == none) return;
      heap.push_back(entry(rank, left));
      std::push_heap(heap.begin(), heap.end(), later);
    };
    while (!heap.empty()) {
      const auto rank = static_cast<std::uint32_t>(heap.front() >> 32);
      const auto left = static_cast<std::uint32_t>(heap.front());
      std::pop_heap(heap.begin(), heap.end(), later);
      heap.pop_back();
      if (sizes[left] == 0 || next[left] == none) continue;
      const std::uint32_t right = next[left];
      const std::uint32_t now = ranks_.find(ids[left], ids[right]);
      if (now == none || merged_[now] != merged_[rank]) continue;  // its symbols are gone
      ids[left] = merged_[rank];
      sizes[left] += sizes[right];
      sizes[right] = 0;
      next[left] = next[right];
      if (next[left] != none) previous[next[left]] = left;
      if (previous[left] != none) push(previous[left], left);
      if (next[left] != none) push(left, next[left]);
    }
  }

  /// Translates pieces that count the bytes of the spelling into the word's own bytes.
  static void place_in_bytes(std::string_view word, std::vector<Piece>& pieces) {
    std::vector<std::uint32_t> byte_of;
    for (std::uint32_t i = 0; i < word.size(); ++i) {
      byte_of.resize(byte_of.size() + byte_spelling(static_cast<unsigned char>(word[i])).size(), i);
    }
    for (Piece& piece : pieces) {
      piece.begin = byte_of[piece.begin];
      piece.end = byte_of[piece.end - 1] + 1;
    }
  }

  Vocabulary vocabulary_;
  BpeOptions options_;
  PairTable ranks_;                    // from two ids to the merge's rank
  std::vector<std::uint32_t> merged_;  // by rank: the id of the joined token
  std::array<std::uint32_t, 256> byte_ids_{};
  std::array<std::uint32_t, 256> fallback_ids_{};
  std::uint32_t unknown_ = none;
  bool simple_ = false;  // every byte of a word has a token
};

}  // namespace eigenformer::detail
