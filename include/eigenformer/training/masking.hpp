// Masking: which tokens of a text the model has to guess, drawn anew for each copy of the text, and
// what it sees in their place (Devlin et al., arXiv:1810.04805; Liu et al., arXiv:1907.11692; Joshi
// et al., arXiv:1907.10529). Mirrors the laws of fairseq/data/mask_tokens_dataset.py, of
// google-research/bert/create_pretraining_data.py and of SpanBERT's fairseq/data/masking.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/rng.hpp"

namespace eigenformer {

/// Random numbers one after the other, from one stream.
class Draws {
 public:
  /// From the first number of a stream on.
  Draws(Rng rng, std::uint64_t stream) noexcept : rng_(rng), stream_(stream) {}

  /// Uniform in [0, 1).
  [[nodiscard]] double uniform() noexcept { return rng_.uniform(stream_, position_++); }
  /// Uniform in 0 .. n - 1; n must be positive.
  [[nodiscard]] Index below(Index n) noexcept {
    return static_cast<Index>(uniform() * static_cast<double>(n));
  }
  /// Brings `count` numbers, drawn without replacement, to the front.
  template <class T>
  void shuffle(std::span<T> values, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count && i + 1 < values.size(); ++i) {
      const auto other = static_cast<std::size_t>(below(static_cast<Index>(values.size() - i)));
      std::swap(values[i], values[i + other]);
    }
  }

 private:
  Rng rng_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

/// How many tokens of a text are to be guessed.
enum class MaskingLaw : std::uint8_t {
  /// A share of the tokens, or words, rounded up or down at random. A word is shown as one: masked,
  /// random or as it is.
  roberta,
  /// A share of the tokens, rounded to the nearest, but at least one. Words that would exceed it
  /// are passed over, and how it is shown is drawn for each token of a word. (BERT's limit,
  /// max_predictions_per_seq, is that share of its longest text, so there is none here.)
  bert,
  /// Spans of 1 to 10 whole words, until a share of the tokens that are not kept, rounded up, is
  /// hidden. How many words is drawn from the geometric distribution of p = 0.2 without what is
  /// above: 3.8 in the mean. Each begins with the word of a token that is drawn uniformly, and ends
  /// early at a kept token, or where the share is reached. Those that meet are one span, and how it
  /// is shown is drawn once for all of it.
  span
};

/// Which tokens are to be guessed, and what is shown in their place; BERT's shares by default.
struct MaskingOptions {
  TokenId mask_token = 0;    ///< what stands for a token that is to be guessed
  TokenId first_random = 4;  ///< replacements are drawn from here: after the special tokens
  TokenId vocab_size = 0;    ///< to here (excluded)
  /// `[vocab]`, how often each token comes in the text: replacements are drawn by it then, instead
  /// of uniformly from `first_random` on. Empty: they are not.
  std::vector<Index> random_counts = {};
  double probability = 0.15;  ///< share of the tokens, or words, that are to be guessed
  double mask_share = 0.8;    ///< of these: shown as `mask_token`
  double random_share = 0.1;  ///< shown as a random token; the rest is shown as it is
  /// `[vocab]`, 1 where a token begins a word: whole words are chosen then, and treated alike.
  /// Empty: single tokens.
  std::vector<std::uint8_t> word_starts = {};
  MaskingLaw law = MaskingLaw::roberta;  ///< how many of them
  std::vector<TokenId> kept = {};        ///< tokens that are never chosen, such as separators
};

/// What a masked language model sees, and what it has to guess.
struct MaskedBatch {
  Batch batch;                   ///< what the model sees
  std::vector<Index> positions;  ///< rows of the batch that are to be guessed, rising
  std::vector<TokenId> labels;   ///< their tokens
  /// `[positions]`, by MaskingLaw::span: the rows of the span that each is in. Or empty.
  std::vector<RowRange> spans = {};
  /// `[segments]`, of pairs: 0 where the second segment follows the first, else 1. Or empty.
  std::vector<TokenId> pair_labels = {};
};

/// Masks texts one by one. The draws for a text depend on the seed, the copy and the text's number
/// alone, not on the batch nor the threads.
class Masking {
 public:
  /// Throws ConfigError for shares that are none, and a vocabulary without tokens to draw from.
  Masking(MaskingOptions options, std::uint64_t seed) : options_(std::move(options)), rng_(seed) {
    const auto share = [](const char* name, double value) {
      check<ConfigError>(value >= 0 && value <= 1, "masking: ", name, " is ", value,
                         "; it must be in [0, 1]");
    };
    share("probability", options_.probability);
    share("mask_share", options_.mask_share);
    share("random_share", options_.random_share);
    share("mask_share + random_share", options_.mask_share + options_.random_share);
    check<ConfigError>(options_.first_random >= 0 && options_.first_random < options_.vocab_size,
                       "masking: random tokens from ", options_.first_random,
                       " to the vocabulary's ", options_.vocab_size, ", which are none");
    check<ConfigError>(options_.word_starts.empty() ||
                           static_cast<TokenId>(options_.word_starts.size()) == options_.vocab_size,
                       "masking: word starts of ", options_.word_starts.size(),
                       " tokens for a vocabulary of ", options_.vocab_size);
    const std::vector<Index>& counts = options_.random_counts;
    if (counts.empty()) return;
    check<ConfigError>(static_cast<TokenId>(counts.size()) == options_.vocab_size,
                       "masking: counts of ", counts.size(), " tokens for a vocabulary of ",
                       options_.vocab_size);
    for (const Index count : counts) {
      check<ConfigError>(count >= 0, "masking: a token comes ", count, " times");
      count_sums_.push_back(count + (count_sums_.empty() ? 0 : count_sums_.back()));
    }
    check<ConfigError>(count_sums_.back() > 0, "masking: no token comes in the text");
  }

  /// Appends text number `number` to `batch`, as copy `copy` of it shows it; `types` may be empty.
  /// Throws FormatError where `mask_token` is in the text, ShapeError for ids outside the
  /// vocabulary.
  void add(MaskedBatch& batch, std::span<const TokenId> text, std::uint64_t copy,
           std::uint64_t number, std::span<const TokenId> types = {}) const {
    for (const TokenId id : text) {
      check<ShapeError>(id >= 0 && id < options_.vocab_size, "masking: token ", id,
                        " is outside the vocabulary of ", options_.vocab_size);
      check<FormatError>(id != options_.mask_token, "masking: the mask token ", id, " is in text ",
                         number, "; it would be guessed by itself");
    }
    Draws draws(rng_, copy << 40 | number);
    const Index first = batch.batch.tokens();
    batch.batch.add(text, types);
    std::vector<RowRange> chosen = chosen_of(text, draws);
    std::sort(chosen.begin(), chosen.end(),
              [](RowRange a, RowRange b) { return a.begin < b.begin; });
    for (const RowRange unit : chosen) {
      double draw = draws.uniform();
      for (Index i = unit.begin; i < unit.end; ++i) {
        if (i > unit.begin && options_.law == MaskingLaw::bert) draw = draws.uniform();
        TokenId& shown = batch.batch.ids[static_cast<std::size_t>(first + i)];
        batch.positions.push_back(first + i);
        batch.labels.push_back(shown);
        if (options_.law == MaskingLaw::span) {
          batch.spans.push_back({first + unit.begin, first + unit.end});
        }
        if (draw < options_.mask_share) {
          shown = options_.mask_token;
        } else if (draw < options_.mask_share + options_.random_share) {
          shown = random_token(draws);
        }
      }
    }
  }

  /// What it was made with.
  [[nodiscard]] const MaskingOptions& options() const noexcept { return options_; }

 private:
  static constexpr std::size_t most_words = 10;  // of a span
  static constexpr double one_more_word = 0.8;   // the probability that a span goes on, until then

  /// What is chosen of a text.
  [[nodiscard]] std::vector<RowRange> chosen_of(std::span<const TokenId> text, Draws& draws) const {
    switch (options_.law) {
      case MaskingLaw::bert: return nearest_share(units_of(text), text.size(), draws);
      case MaskingLaw::span: return spans_of(units_of(text), text.size(), draws);
      default: return random_share(units_of(text), draws);
    }
  }

  [[nodiscard]] TokenId random_token(Draws& draws) const {
    if (count_sums_.empty()) {
      return options_.first_random +
             static_cast<TokenId>(draws.below(options_.vocab_size - options_.first_random));
    }
    const Index at = draws.below(count_sums_.back());
    return static_cast<TokenId>(std::upper_bound(count_sums_.begin(), count_sums_.end(), at) -
                                count_sums_.begin());
  }

  /// What can be chosen of a text, in order: its tokens, or its words.
  [[nodiscard]] std::vector<RowRange> units_of(std::span<const TokenId> text) const {
    std::vector<RowRange> units;
    bool begins = true;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const TokenId id = text[i];
      const auto at = static_cast<Index>(i);
      const bool kept =
          std::find(options_.kept.begin(), options_.kept.end(), id) != options_.kept.end();
      begins = begins || kept || options_.word_starts.empty() ||
               options_.word_starts[static_cast<std::size_t>(id)] != 0;
      if (!kept && begins) units.push_back({at, at});
      if (!kept) units.back().end = at + 1;
      begins = kept;
    }
    return units;
  }

  [[nodiscard]] std::vector<RowRange> random_share(std::vector<RowRange> units,
                                                   Draws& draws) const {
    const auto count =
        std::min(units.size(),
                 static_cast<std::size_t>(options_.probability * static_cast<double>(units.size()) +
                                          draws.uniform()));
    draws.shuffle(std::span(units), count);
    units.resize(count);
    return units;
  }

  [[nodiscard]] std::vector<RowRange> nearest_share(std::vector<RowRange> units, std::size_t tokens,
                                                    Draws& draws) const {
    auto left = static_cast<Index>(
        std::max(1.0, std::nearbyint(options_.probability * static_cast<double>(tokens))));
    draws.shuffle(std::span(units), units.size());
    std::erase_if(units, [&](RowRange unit) {
      if (unit.size() > left) return true;
      left -= unit.size();
      return false;
    });
    return units;
  }

  [[nodiscard]] std::vector<RowRange> spans_of(const std::vector<RowRange>& words,
                                               std::size_t tokens, Draws& draws) const {
    std::vector<Index> places;                 // of tokens that may be hidden
    std::vector<std::size_t> word_of(tokens);  // which of `words`, at these places
    for (std::size_t word = 0; word < words.size(); ++word) {
      for (Index i = words[word].begin; i < words[word].end; ++i) {
        places.push_back(i);
        word_of[static_cast<std::size_t>(i)] = word;
      }
    }
    std::vector<std::uint8_t> hidden(tokens);
    auto left =
        static_cast<Index>(std::ceil(options_.probability * static_cast<double>(places.size())));
    while (left > 0) {
      const std::size_t length = span_words(draws);
      const auto place = static_cast<std::size_t>(draws.below(std::ssize(places)));
      const auto token = static_cast<std::size_t>(places[place]);
      if (hidden[token] != 0) continue;
      const std::size_t first = word_of[token];
      const std::size_t last = std::min(words.size(), first + length);
      for (std::size_t word = first; word < last; ++word) {
        if (word > first && words[word].begin > words[word - 1].end) break;  // after a kept token
        for (Index i = words[word].begin; i < words[word].end && left > 0; ++i) {
          std::uint8_t& one = hidden[static_cast<std::size_t>(i)];
          left -= one == 0;
          one = 1;
        }
      }
    }
    std::vector<RowRange> spans;
    for (Index i = 0; i < std::ssize(hidden); ++i) {
      if (hidden[static_cast<std::size_t>(i)] == 0) continue;
      if (spans.empty() || spans.back().end < i) spans.push_back({i, i});
      spans.back().end = i + 1;
    }
    return spans;
  }

  /// How many words a span has.
  static std::size_t span_words(Draws& draws) {
    double left = draws.uniform() * (1 - std::pow(one_more_word, most_words));
    double share = 1 - one_more_word;
    std::size_t words = 1;
    for (; left >= share && words < most_words; ++words) {
      left -= share;
      share *= one_more_word;
    }
    return words;
  }

  MaskingOptions options_;
  Rng rng_;
  std::vector<Index> count_sums_;  // [vocab], of random_counts up to each token, or empty
};

}  // namespace eigenformer
