// A corpus for pre-training: plain text as one stream of tokens, and how it is cut into blocks or
// pairs of segments.
// One line is one sentence, or paragraph; an empty line ends a document.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/digest.hpp"
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

/// A block of text as a model is shown it: BERT's `[CLS] A [SEP] B [SEP]`, or any other, which is
/// all first segment.
struct SegmentPair {
  std::vector<TokenId> ids;  ///< special tokens counted
  Index first = 0;           ///< how many tokens are of type 0, `[CLS] A [SEP]`; the rest is of 1
  TokenId random = 0;        ///< 0: the second segment follows the first; 1: it is of elsewhere
};

/// Documents of sentences as tokens. Each sentence ends with the separator.
class Corpus {
 public:
  /// An empty corpus; `bos`, or `[CLS]`, begins every block; `eos`, or `[SEP]`, ends every
  /// sentence; `mask` is a token that texts must not have in them.
  Corpus(TokenId bos, TokenId eos, std::optional<TokenId> mask = {})
      : bos_(bos), eos_(eos), mask_(mask) {}

  /// Appends the text of a file, tokenized on all threads. Throws IoError, and FormatError for a
  /// file without text and a line with the mask token in it.
  void add_file(const Tokenizer& tokenizer, const std::string& path, ThreadPool* pool = nullptr) {
    const Index before = sentences();
    add_text(tokenizer, read_file(path), pool, path);
    check<FormatError>(sentences() > before, path, ": holds no text");
  }

  /// Appends a text; its end ends a document. Spaces at the ends of lines do not count. Throws
  /// FormatError for a line of `source` with the mask token in it.
  void add_text(const Tokenizer& tokenizer, std::string_view text, ThreadPool* pool = nullptr,
                const std::string& source = "the text") {
    constexpr std::size_t most = 4096;  // lines that are held at once
    std::vector<std::string_view> lines;
    Index flushed = 0;
    const auto flush = [&] {
      const Batch batch = tokenizer.encode_batch(lines, {.add_special_tokens = false}, pool);
      for (Index i = 0; i < batch.segments(); ++i) {
        const RowRange line = batch.segment(i);
        const auto sentence = std::span(batch.ids).subspan(static_cast<std::size_t>(line.begin),
                                                           static_cast<std::size_t>(line.size()));
        check<FormatError>(
            !mask_ || std::find(sentence.begin(), sentence.end(), *mask_) == sentence.end(), source,
            " line ", flushed + i + 1, ": has the mask token in it; it must be taken out");
        if (sentence.empty())
          end_document();
        else
          add_sentence(sentence);
      }
      flushed += batch.segments();
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

  /// How often each token of a vocabulary comes in the sentences, without their separators:
  /// `[vocab_size]`. Throws ShapeError for a token outside the vocabulary.
  [[nodiscard]] std::vector<Index> token_counts(Index vocab_size) const {
    std::vector<Index> counts(static_cast<std::size_t>(vocab_size));
    for (const TokenId id : ids_) {
      check<ShapeError>(id >= 0 && id < vocab_size, "corpus: token ", id,
                        " is outside the vocabulary of ", vocab_size);
      ++counts[static_cast<std::size_t>(id)];
    }
    if (sentences() > 0) counts[static_cast<std::size_t>(eos_)] -= sentences();
    return counts;
  }

  /// A number that other sentences, or other ends of documents, hardly give.
  [[nodiscard]] std::uint64_t digest() const noexcept {
    Digest digest;
    digest.add_all(ids_);
    digest.add_all(ends_document_);
    return digest.value();
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

  /// Pairs of segments of at most `length` tokens for next sentence prediction, document by
  /// document. Sentences are taken up to a target length, which is short in one of ten documents;
  /// some of them are the first segment. The second is the rest, or as often text of another
  /// document, and then the rest is taken anew. What is too long loses tokens at either end. Each
  /// `copy` of the text has other pairs; those of a document depend on the seed, the copy and the
  /// document's number alone. Throws ConfigError for a length without room for two tokens, and for
  /// less than two documents. Mirrors the law of google-research/bert/create_pretraining_data.py.
  [[nodiscard]] std::vector<SegmentPair> segment_pairs(Index length, std::uint64_t seed,
                                                       std::uint64_t copy) const {
    check<ConfigError>(length >= 5, "corpus: pairs of segments of ", length,
                       " tokens have no room between their ends; the least is 5");
    const std::vector<Document> all = documents_of_text();
    check<ConfigError>(all.size() != 1, "corpus: the text is one document, but the second segments",
                       " of pairs come from others; an empty line ends a document");
    std::vector<SegmentPair> pairs;
    for (std::size_t number = 0; number < all.size(); ++number) {
      Draws draws(Rng(seed), copy << 40 | number);
      add_pairs(pairs, all, number, length - 3, draws);
    }
    return pairs;
  }

 private:
  using Sentence = std::span<const TokenId>;
  using Document = std::vector<Sentence>;
  static constexpr double short_share = 0.1;  // of documents whose pairs are short

  /// The documents with text, as their sentences without separators.
  [[nodiscard]] std::vector<Document> documents_of_text() const {
    std::vector<Document> all;
    Document document;
    const auto flush = [&] {
      if (!document.empty()) all.push_back(std::exchange(document, {}));
    };
    for (std::size_t i = 0; i < ends_document_.size(); ++i) {
      const auto begin = static_cast<std::size_t>(sentences_[i]);
      const auto end = static_cast<std::size_t>(sentences_[i + 1]) - 1;  // of the separator
      if (begin < end) document.push_back(std::span(ids_).subspan(begin, end - begin));
      if (ends_document_[i] != 0) flush();
    }
    flush();
    return all;
  }

  /// Appends the pairs of document `number`, whose segments have at most `most` tokens together.
  void add_pairs(std::vector<SegmentPair>& pairs, const std::vector<Document>& all,
                 std::size_t number, Index most, Draws& draws) const {
    const Document& document = all[number];
    const Index target = draws.uniform() < short_share ? 2 + draws.below(most - 1) : most;
    for (std::size_t begin = 0; begin < document.size();) {
      std::size_t end = begin;
      for (Index size = 0; end < document.size() && size < target; ++end) {
        size += static_cast<Index>(document[end].size());
      }
      const auto sentences = static_cast<Index>(end - begin);
      const auto middle =
          begin + static_cast<std::size_t>(sentences > 1 ? 1 + draws.below(sentences - 1) : 1);
      const bool random = sentences == 1 || draws.uniform() < 0.5;
      std::vector<TokenId> first, second;
      for (std::size_t i = begin; i < middle; ++i) append(first, document[i]);
      if (random) {
        auto other = static_cast<std::size_t>(draws.below(static_cast<Index>(all.size()) - 1));
        if (other >= number) ++other;
        const Document& elsewhere = all[other];
        auto i = static_cast<std::size_t>(draws.below(static_cast<Index>(elsewhere.size())));
        do append(second, elsewhere[i]);
        while (++i < elsewhere.size() && std::ssize(first) + std::ssize(second) < target);
      } else {
        for (std::size_t i = middle; i < end; ++i) append(second, document[i]);
      }
      pairs.push_back(joined(first, second, most, draws));
      pairs.back().random = random;
      begin = random ? middle : end;
    }
  }

  static void append(std::vector<TokenId>& segment, Sentence sentence) {
    segment.insert(segment.end(), sentence.begin(), sentence.end());
  }

  /// A pair of the segments, of which the longer one loses tokens while there are more than `most`.
  [[nodiscard]] SegmentPair joined(Sentence first, Sentence second, Index most,
                                   Draws& draws) const {
    while (std::ssize(first) + std::ssize(second) > most) {
      Sentence& longer = first.size() > second.size() ? first : second;
      longer = draws.uniform() < 0.5 ? longer.subspan(1) : longer.first(longer.size() - 1);
    }
    SegmentPair pair{{bos_}, std::ssize(first) + 2};
    append(pair.ids, first);
    pair.ids.push_back(eos_);
    append(pair.ids, second);
    pair.ids.push_back(eos_);
    return pair;
  }

  TokenId bos_;
  TokenId eos_;
  std::optional<TokenId> mask_;
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
