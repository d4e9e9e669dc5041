// A corpus for pre-training: plain text as one stream of tokens, and how it is cut into blocks.
// One line is one sentence, or paragraph; an empty line ends a document.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/io/file.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/training/masking.hpp"

namespace eigenformer {

/// Which sentences go together. (Liu et al., arXiv:1907.11692, section 4.2; fairseq calls them
/// complete and complete_doc)
enum class BlockMode : std::uint8_t {
  full_sentences,  ///< blocks cross documents, with an extra separator between them
  doc_sentences    ///< blocks end with their document
};

/// Documents of sentences as tokens. Each sentence ends with the separator.
class Corpus {
 public:
  /// An empty corpus; `bos` begins every block, `eos` ends every sentence.
  Corpus(TokenId bos, TokenId eos) : bos_(bos), eos_(eos) {}

  /// Appends the text of a file, tokenized on all threads. Throws IoError.
  void add_file(const Tokenizer& tokenizer, const std::string& path, ThreadPool* pool = nullptr) {
    add_text(tokenizer, read_file(path), pool);
  }

  /// Appends a text; its end ends a document. Spaces at the ends of lines do not count.
  void add_text(const Tokenizer& tokenizer, std::string_view text, ThreadPool* pool = nullptr) {
    constexpr std::size_t most = 4096;  // lines that are held at once
    std::vector<std::string_view> lines;
    const auto flush = [&] {
      const Batch batch = tokenizer.encode_batch(lines, {.add_special_tokens = false}, pool);
      for (Index i = 0; i < batch.segments(); ++i) {
        const RowRange line = batch.segment(i);
        if (line.size() == 0)
          end_document();
        else
          add_sentence(std::span(batch.ids).subspan(static_cast<std::size_t>(line.begin),
                                                    static_cast<std::size_t>(line.size())));
      }
      lines.clear();
    };
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view line = text.substr(begin, end - begin);
      const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
      while (!line.empty() && space(line.front())) line.remove_prefix(1);
      while (!line.empty() && space(line.back())) line.remove_suffix(1);
      lines.push_back(line);
      begin = end + 1;
      if (lines.size() == most) flush();
    }
    flush();
    end_document();
  }

  /// Appends a sentence to the document under way.
  void add_sentence(std::span<const TokenId> sentence) {
    ids_.insert(ids_.end(), sentence.begin(), sentence.end());
    ids_.push_back(eos_);
    sentences_.push_back(tokens());
    ends_document_.push_back(0);
  }
  /// Ends the document under way, if it has sentences.
  void end_document() noexcept {
    if (!ends_document_.empty()) ends_document_.back() = 1;
  }

  /// Tokens in all, the separators of sentences included.
  [[nodiscard]] Index tokens() const noexcept { return static_cast<Index>(ids_.size()); }
  /// How many sentences there are.
  [[nodiscard]] Index sentences() const noexcept {
    return static_cast<Index>(ends_document_.size());
  }
  /// How many documents have ended.
  [[nodiscard]] Index documents() const noexcept {
    return std::accumulate(ends_document_.begin(), ends_document_.end(), Index{0});
  }

  /// A number that other sentences, or other ends of documents, hardly give (FNV-1a).
  [[nodiscard]] std::uint64_t digest() const noexcept {
    std::uint64_t hash = 0xCBF29CE484222325U;
    const auto add = [&](auto value) {
      hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001B3U;
    };
    for (const TokenId id : ids_) add(id);
    for (const std::uint8_t ends : ends_document_) add(ends);
    return hash;
  }

  /// Cuts the corpus into blocks of whole sentences of at most `length` tokens; a longer sentence
  /// is cut. Throws ConfigError for a length without room for anything.
  [[nodiscard]] std::vector<std::vector<TokenId>> blocks(Index length, BlockMode mode) const {
    check<ConfigError>(length >= 3, "corpus: blocks of ", length,
                       " tokens have no room between their ends; the least is 3");
    std::vector<std::vector<TokenId>> all;
    std::vector<TokenId> block{bos_};
    const auto flush = [&] {
      if (block.size() > 1) all.push_back(std::exchange(block, {bos_}));
    };
    const auto most = static_cast<std::size_t>(length);
    bool new_document = false;
    for (std::size_t i = 0; i < ends_document_.size(); ++i) {
      const auto begin = static_cast<std::size_t>(sentences_[i]);
      std::span<const TokenId> sentence(ids_.data() + begin,
                                        static_cast<std::size_t>(sentences_[i + 1]) - begin);
      const bool separated = new_document && block.size() > 1;
      if (block.size() + (separated ? 1 : 0) + sentence.size() > most)
        flush();
      else if (separated)
        block.push_back(eos_);
      for (; 1 + sentence.size() > most; sentence = sentence.subspan(most - 1)) {
        const auto piece = sentence.first(most - 1);
        block.insert(block.end(), piece.begin(), piece.end());
        flush();
      }
      block.insert(block.end(), sentence.begin(), sentence.end());
      new_document = ends_document_[i] != 0;
      if (new_document && mode == BlockMode::doc_sentences) flush();
    }
    flush();
    return all;
  }

 private:
  TokenId bos_;
  TokenId eos_;
  std::vector<TokenId> ids_;
  std::vector<Index> sentences_ = {0};       // [sentences + 1], where each begins
  std::vector<std::uint8_t> ends_document_;  // [sentences]
};

/// A permutation of 0 .. n - 1 that depends on the seed and the epoch alone.
[[nodiscard]] inline std::vector<Index> shuffled(Index n, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  Draws(Rng(seed), ~epoch).shuffle(std::span(order), order.size());
  return order;
}

}  // namespace eigenformer
