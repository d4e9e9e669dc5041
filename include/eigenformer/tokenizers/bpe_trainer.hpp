// Learns a byte-level BPE vocabulary (Sennrich et al., arXiv:1508.07909; bytes as in GPT-2): of all
// pairs of neighbouring symbols, the most frequent one becomes a token, again and again. Tokens,
// ids and merges are those of HF's tokenizers/src/models/bpe/trainer.rs, except that counts have 64
// bits here and wrap beyond 2^31 there. They depend neither on threads nor on the order of texts.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/threading/thread_pool.hpp"
#include "eigenformer/tokenizers/byte_level.hpp"
#include "eigenformer/tokenizers/hash_tables.hpp"
#include "eigenformer/tokenizers/unicode.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer {

/// The characters that stand for the 256 bytes in byte-level vocabularies, in UTF-8.
[[nodiscard]] inline std::string byte_level_alphabet() {
  std::string alphabet;
  for (const char16_t character : detail::byte_characters) detail::append_utf8(alphabet, character);
  return alphabet;
}

/// What HF's BpeTrainer can be told.
struct BpeTrainerOptions {
  Index vocab_size = 30000;  ///< tokens to stop at, special ones counted; the text may give fewer
  Index min_frequency = 0;   ///< a pair that occurs less often becomes no token
  std::vector<std::string> special_tokens = {};  ///< they get the first ids
  /// They get the last ids, as RoBERTa's `<mask>` does; HF has no such option.
  std::vector<std::string> last_special_tokens = {};
  /// Characters (of the vocabulary, as byte_level_alphabet() has them) that are tokens even where
  /// the text lacks them.
  std::string initial_alphabet = byte_level_alphabet();
  /// The most characters that are tokens: the most frequent, of equal ones the lower code points.
  /// The others vanish from the text.
  std::optional<Index> limit_alphabet = {};
  /// Only tokens of fewer characters than this, or of two, are made (HF's bound excludes itself).
  std::optional<Index> max_token_length = {};
  /// Called after each merge with the number of tokens so far, of `vocab_size`.
  std::function<void(Index done, Index total)> progress = {};
};

/// A BPE model.
struct TrainedBpe {
  std::vector<std::string> vocabulary;  ///< tokens in the order of their ids
  /// Pairs in the order of their ranks.
  std::vector<std::pair<std::string, std::string>> merges;
};

namespace detail {

/// One training on counted words. Candidates for the next merge lie in a heap, each with the words
/// that it was found in; their counts may be out of date and are looked at when they reach the top.
/// Merges are made everywhere at once, so that what becomes a token becomes it in the same way
/// everywhere: no two pairs make one token, no pair is found at two steps or merged twice.
class BpeTraining {
 public:
  /// Throws as BpeTrainer::train.
  BpeTraining(const WordCounts& words, const BpeTrainerOptions& options)
      : options_(options),
        max_length_(options.max_token_length.value_or(std::numeric_limits<Index>::max())) {
    check_options();
    check<ConfigError>(words.size() > 0, source, "there is no text to train on");
    for (const std::string& token : options_.special_tokens) token_id(token);
    add_alphabet(words);
    const std::size_t least = vocabulary_.size() + options_.last_special_tokens.size();
    check<ConfigError>(static_cast<std::size_t>(options_.vocab_size) >= least, source,
                       "vocab_size ", options_.vocab_size,
                       " must be at least the number of special tokens and characters, ", least);
    add_words(words);
  }

  TrainedBpe run() {
    const auto last = static_cast<Index>(options_.last_special_tokens.size());
    const std::int64_t least_count = std::max<Index>(options_.min_frequency, 1);
    while (tokens() + last < options_.vocab_size && !queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), comes_later);
      Candidate best = std::move(queue_.back());
      queue_.pop_back();
      if (best.count != counts_[best.pair]) {
        best.count = counts_[best.pair];
        enqueue(std::move(best));
        continue;
      }
      if (best.count < least_count) break;
      merge(best);
      enqueue_found();
      if (options_.progress) options_.progress(tokens() + last, options_.vocab_size);
    }
    for (const std::string& token : options_.last_special_tokens) {
      check<ConfigError>(!vocabulary_.find(token), source, "special token '", token,
                         "' cannot come last: the text makes a token of it");
      token_id(token);
    }
    TrainedBpe bpe;
    for (TokenId id = 0; id < tokens(); ++id) bpe.vocabulary.emplace_back(*vocabulary_.find(id));
    bpe.merges = std::move(merges_);
    return bpe;
  }

 private:
  static constexpr std::string_view source = "BPE trainer: ";
  static constexpr std::uint32_t none = PairTable::none;
  static constexpr Index most_tokens = max_token_id + 1;

  struct Word {
    std::size_t begin;  // of its symbols
    std::uint32_t size;
    std::uint64_t count;
  };

  struct Candidate {
    std::int64_t count;  // of the pair, when it was last looked at
    std::uint32_t left;
    std::uint32_t right;
    std::uint32_t pair;  // its number
    std::vector<std::uint32_t> words;
  };

  /// The order of the heap: by count, then by the ids.
  static bool comes_later(const Candidate& a, const Candidate& b) noexcept {
    if (a.count != b.count) return a.count < b.count;
    return a.left != b.left ? a.left > b.left : a.right > b.right;
  }

  void check_options() const {
    const auto at_least = [](const char* name, Index value, Index least) {
      check<ConfigError>(value >= least, source, std::string_view(name), " ", value,
                         " must be at least ", least);
    };
    at_least("vocab_size", options_.vocab_size, 0);
    check<ConfigError>(options_.vocab_size <= most_tokens, source, "vocab_size ",
                       options_.vocab_size, " must be at most ", most_tokens);
    at_least("min_frequency", options_.min_frequency, 0);
    at_least("limit_alphabet", options_.limit_alphabet.value_or(0), 0);
    at_least("max_token_length", max_length_, 0);
    check<ConfigError>(valid_prefix(options_.initial_alphabet) == options_.initial_alphabet.size(),
                       source, "initial_alphabet is not valid UTF-8 at byte ",
                       valid_prefix(options_.initial_alphabet));
    std::vector<std::string> special = options_.special_tokens;
    special.insert(special.end(), options_.last_special_tokens.begin(),
                   options_.last_special_tokens.end());
    std::sort(special.begin(), special.end());
    const auto twice = std::adjacent_find(special.begin(), special.end());
    check<ConfigError>(twice == special.end(), source, "special token '",
                       twice == special.end() ? "" : *twice, "' is given twice");
    for (const std::string& token : special) {
      check<ConfigError>(!token.empty() && valid_prefix(token) == token.size(), source,
                         "special token '", token, "' must be valid UTF-8, and not empty");
    }
  }

  [[nodiscard]] Index tokens() const noexcept { return static_cast<Index>(vocabulary_.size()); }

  /// The id of a token that may be new.
  std::uint32_t token_id(std::string_view token) {
    if (const auto known = vocabulary_.find(token)) return static_cast<std::uint32_t>(*known);
    vocabulary_.add(token, tokens(), source);
    lengths_.push_back(1);
    return static_cast<std::uint32_t>(tokens() - 1);
  }

  /// Gives ids to the characters, in the order of their code points.
  void add_alphabet(const WordCounts& words) {
    std::array<std::uint64_t, 256> byte_counts{};
    words.for_each([&](std::string_view word, std::uint64_t count) {
      for (const char byte : word) byte_counts[static_cast<unsigned char>(byte)] += count;
    });
    std::map<char32_t, std::uint64_t> found;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      if (byte_counts[byte] > 0) found[byte_characters[byte]] = byte_counts[byte];
    }
    const std::string& initial = options_.initial_alphabet;
    for (std::size_t at = 0; at < initial.size();) {
      const Utf8Char next = decode_utf8(initial.data() + at);
      found[next.point] = std::numeric_limits<std::uint64_t>::max();
      at += next.size;
    }
    std::vector<std::pair<char32_t, std::uint64_t>> kept(found.begin(), found.end());
    const auto limit = static_cast<std::size_t>(options_.limit_alphabet.value_or(most_tokens));
    if (kept.size() > limit) {
      std::stable_sort(kept.begin(), kept.end(),
                       [](const auto& a, const auto& b) { return a.second > b.second; });
      kept.resize(limit);
      std::sort(kept.begin(), kept.end());
    }
    for (const auto& character : kept) {
      std::string spelling;
      append_utf8(spelling, character.first);
      token_id(spelling);
    }
  }

  /// Turns words into symbols and counts their pairs.
  void add_words(const WordCounts& words) {
    std::array<std::uint32_t, 256> byte_ids{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const auto id = vocabulary_.find(byte_spelling(byte));
      byte_ids[byte] = id ? static_cast<std::uint32_t>(*id) : none;
    }
    symbols_.reserve(words.bytes());
    words_.reserve(words.size());
    words.for_each([&](std::string_view bytes, std::uint64_t count) {
      check<ShapeError>(bytes.size() < none, source, "a word of ", bytes.size(),
                        " bytes; 4 GiB is the limit");
      const std::size_t begin = symbols_.size();
      for (const char byte : bytes) {
        const std::uint32_t id = byte_ids[static_cast<unsigned char>(byte)];
        if (id != none) symbols_.push_back(id);
      }
      const auto number = static_cast<std::uint32_t>(words_.size());
      words_.push_back({begin, static_cast<std::uint32_t>(symbols_.size() - begin), count});
      for (std::size_t i = begin; i + 1 < symbols_.size(); ++i) {
        add_pair(symbols_[i], symbols_[i + 1], number);
      }
    });
    enqueue_found();
  }

  /// The number of a pair that may be new.
  std::uint32_t pair_number(std::uint32_t left, std::uint32_t right) {
    std::uint32_t number = pairs_.find(left, right);
    if (number != none) return number;
    check<ShapeError>(counts_.size() < none, source, "more than ", none, " different pairs");
    number = static_cast<std::uint32_t>(counts_.size());
    pairs_.insert(left, right, number);
    counts_.push_back(0);
    found_at_.push_back(none);
    return number;
  }

  /// Counts one more of a pair, and notes in which word. No sum exceeds the number of bytes fed.
  void add_pair(std::uint32_t left, std::uint32_t right, std::uint32_t word) {
    const std::uint32_t pair = pair_number(left, right);
    counts_[pair] += static_cast<std::int64_t>(words_[word].count);
    if (found_at_[pair] == none) {
      found_at_[pair] = static_cast<std::uint32_t>(found_.size());
      found_.push_back({0, left, right, pair, {}});
    }
    std::vector<std::uint32_t>& places = found_[found_at_[pair]].words;
    if (places.empty() || places.back() != word) places.push_back(word);
  }

  void remove_pair(std::uint32_t left, std::uint32_t right, std::uint32_t word) {
    counts_[pair_number(left, right)] -= static_cast<std::int64_t>(words_[word].count);
  }

  void enqueue(Candidate candidate) {
    queue_.push_back(std::move(candidate));
    std::push_heap(queue_.begin(), queue_.end(), comes_later);
  }

  /// Makes candidates of the pairs that add_pair() noted.
  void enqueue_found() {
    for (Candidate& candidate : found_) {
      found_at_[candidate.pair] = none;
      candidate.count = counts_[candidate.pair];
      if (candidate.count > 0) enqueue(std::move(candidate));
    }
    found_.clear();
  }

  /// Makes a token of a pair and puts it into the words.
  void merge(const Candidate& pair) {
    const auto spelling = [&](std::uint32_t id) {
      return *vocabulary_.find(static_cast<TokenId>(id));
    };
    merges_.emplace_back(spelling(pair.left), spelling(pair.right));
    const std::uint32_t merged = token_id(merges_.back().first + merges_.back().second);
    lengths_[merged] = lengths_[pair.left] + lengths_[pair.right];
    for (const std::uint32_t word : pair.words) merge_in_word(pair, merged, word);
  }

  void merge_in_word(const Candidate& pair, std::uint32_t merged, std::uint32_t word) {
    std::uint32_t* const symbols = symbols_.data() + words_[word].begin;
    const std::uint32_t size = words_[word].size;
    const auto may_grow = [&](std::uint32_t neighbour) {
      return lengths_[merged] + lengths_[neighbour] < max_length_;
    };
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < size; ++i) {
      if (symbols[i] != pair.left || i + 1 == size || symbols[i + 1] != pair.right) {
        symbols[kept++] = symbols[i];
        continue;
      }
      if (kept > 0) {
        const std::uint32_t before = symbols[kept - 1];
        remove_pair(before, pair.left, word);
        if (may_grow(before)) add_pair(before, merged, word);
      }
      symbols[kept++] = merged;
      ++i;
      if (i + 1 < size) {
        const std::uint32_t after = symbols[i + 1];
        remove_pair(pair.right, after, word);
        if (may_grow(after)) add_pair(merged, after, word);
      }
    }
    words_[word].size = kept;
  }

  const BpeTrainerOptions& options_;
  Index max_length_;
  Vocabulary vocabulary_;
  std::vector<Index> lengths_;  // of tokens, in characters; of special tokens 1
  std::vector<std::uint32_t> symbols_;
  std::vector<Word> words_;
  PairTable pairs_;                      // from two ids to the pair's number
  std::vector<std::int64_t> counts_;     // by the pair's number
  std::vector<std::uint32_t> found_at_;  // by the pair's number: where in found_ it is
  std::vector<Candidate> found_;         // in the current step
  std::vector<Candidate> queue_;         // a heap
  std::vector<std::pair<std::string, std::string>> merges_;
};

}  // namespace detail

/// Counts the words of texts, then learns a byte-level BPE model from them.
///
/// Words are those of the ByteLevel pre-tokenizer without add_prefix_space. As in HF, special
/// tokens in the text are ordinary text. Bytes that are not UTF-8 are read as U+FFFD, as Tokenizer
/// reads them. Memory is needed for each different word, about 150 bytes, and not for the text.
class BpeTrainer {
 public:
  /// Options are looked at by train().
  explicit BpeTrainer(BpeTrainerOptions options = {}) : options_(std::move(options)) {}

  /// Adds texts; with a pool, over its threads. Words do not reach from one text into the next.
  void feed(std::span<const std::string_view> texts, ThreadPool* pool = nullptr) {
    std::vector<std::size_t> begins = {0};  // of parts that are worth a task
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      bytes += texts[i].size();
      if (bytes < part_bytes && i + 1 < texts.size()) continue;
      begins.push_back(i + 1);
      bytes = 0;
    }
    std::mutex adding;
    const auto count = [&](Index part) {
      const auto begin = begins.begin() + part;
      detail::WordCounts counted;
      for (const std::string_view text : texts.subspan(begin[0], begin[1] - begin[0])) {
        count_words(text, counted);
      }
      const std::lock_guard lock(adding);
      counted.for_each([&](std::string_view word, std::uint64_t n) { words_.add(word, n); });
    };
    const auto parts = static_cast<Index>(begins.size() - 1);
    if (pool != nullptr) return pool->run(parts, count);
    for (Index part = 0; part < parts; ++part) count(part);
  }
  /// The same for strings.
  void feed(std::span<const std::string> texts, ThreadPool* pool = nullptr) {
    feed(std::vector<std::string_view>(texts.begin(), texts.end()), pool);
  }
  /// The same for a list in braces.
  void feed(std::initializer_list<std::string_view> texts) {
    feed(std::span(texts.begin(), texts.size()));
  }

  /// Adds each line of a text, with the '\n' that ends it, as HF's `train(files)` reads files.
  void feed_lines(std::string_view text, ThreadPool* pool = nullptr) {
    std::vector<std::string_view> lines;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t newline = text.find('\n', begin);
      const std::size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
      lines.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    feed(lines, pool);
  }

  /// Learns from what was fed. Throws ConfigError where there is no text, where `vocab_size` is
  /// smaller than special tokens and alphabet together, for special tokens that are given twice,
  /// are empty or no UTF-8, and for options out of range.
  [[nodiscard]] TrainedBpe train() const { return detail::BpeTraining(words_, options_).run(); }

  /// Calls f(word, count) for each different word of the texts; words are text, not spellings.
  template <class Function>
  void for_each_word(Function&& f) const {
    words_.for_each(f);
  }

 private:
  static constexpr std::size_t part_bytes = 1 << 20;

  void count_words(std::string_view text, detail::WordCounts& counted) const {
    std::string repaired;
    if (detail::valid_prefix(text) != text.size()) {
      repaired = detail::repair(text).text;
      text = repaired;
    }
    splitter_(text, [&](std::size_t begin, std::size_t end) {
      counted.add(text.substr(begin, end - begin));
    });
  }

  BpeTrainerOptions options_;
  detail::ByteLevelSplitter splitter_;
  detail::WordCounts words_;
};

}  // namespace eigenformer
