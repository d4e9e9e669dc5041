// Masking: which tokens of a text the model has to guess, drawn anew for each copy of the text, and
// what it sees in their place (Devlin et al., arXiv:1810.04805; Liu et al., arXiv:1907.11692).
// Mirrors the laws of fairseq/data/mask_tokens_dataset.py and of
// google-research/bert/create_pretraining_data.py.
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
  bert
};

/// Which tokens are to be guessed, and what is shown in their place; BERT's shares by default.
struct MaskingOptions {
  TokenId mask_token = 0;     ///< what stands for a token that is to be guessed
  TokenId first_random = 4;   ///< replacements are drawn from here: after the special tokens
  TokenId vocab_size = 0;     ///< to here (excluded)
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
    std::vector<RowRange> chosen = options_.law == MaskingLaw::bert
                                       ? nearest_share(units_of(text), text.size(), draws)
                                       : random_share(units_of(text), draws);
    std::sort(chosen.begin(), chosen.end(),
              [](RowRange a, RowRange b) { return a.begin < b.begin; });
    for (const RowRange unit : chosen) {
      double draw = draws.uniform();
      for (Index i = unit.begin; i < unit.end; ++i) {
        if (i > unit.begin && options_.law == MaskingLaw::bert) draw = draws.uniform();
        TokenId& shown = batch.batch.ids[static_cast<std::size_t>(first + i)];
        batch.positions.push_back(first + i);
        batch.labels.push_back(shown);
        if (draw < options_.mask_share) {
          shown = options_.mask_token;
        } else if (draw < options_.mask_share + options_.random_share) {
          shown = options_.first_random +
                  static_cast<TokenId>(draws.below(options_.vocab_size - options_.first_random));
        }
      }
    }
  }

  /// What it was made with.
  [[nodiscard]] const MaskingOptions& options() const noexcept { return options_; }

 private:
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

  MaskingOptions options_;
  Rng rng_;
};

}  // namespace eigenformer
