// Dynamic masking: which tokens of a text the model has to guess, drawn anew for each epoch, and
// what it sees in their place (Devlin et al., arXiv:1810.04805; Liu et al., arXiv:1907.11692).
// Mirrors the law of fairseq/data/mask_tokens_dataset.py.
#pragma once

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
};

/// What a masked language model sees, and what it has to guess.
struct MaskedBatch {
  Batch batch;                   ///< what the model sees
  std::vector<Index> positions;  ///< rows of the batch that are to be guessed, rising
  std::vector<TokenId> labels;   ///< their tokens
};

/// Masks texts one by one. The draws for a text depend on the seed, the epoch and the text's number
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

  /// Appends text number `number` to `batch`, as epoch `epoch` shows it. Special tokens at its ends
  /// can be chosen too. Throws FormatError where `mask_token` is in the text, ShapeError for ids
  /// outside the vocabulary.
  void add(MaskedBatch& batch, std::span<const TokenId> text, std::uint64_t epoch,
           std::uint64_t number) const {
    for (const TokenId id : text) {
      check<ShapeError>(id >= 0 && id < options_.vocab_size, "masking: token ", id,
                        " is outside the vocabulary of ", options_.vocab_size);
      check<FormatError>(id != options_.mask_token, "masking: the mask token ", id, " is in text ",
                         number, "; it would be guessed by itself");
    }
    Draws draws(rng_, epoch << 40 | number);
    const Index first = batch.batch.tokens();
    batch.batch.add(text);
    // Units are tokens, or words; unit i begins at starts[i].
    std::vector<Index> starts;
    for (Index i = 0; i < static_cast<Index>(text.size()); ++i) {
      const auto id = static_cast<std::size_t>(text[static_cast<std::size_t>(i)]);
      if (i == 0 || options_.word_starts.empty() || options_.word_starts[id] != 0) {
        starts.push_back(i);
      }
    }
    const auto units = static_cast<Index>(starts.size());
    starts.push_back(static_cast<Index>(text.size()));
    const auto count = static_cast<std::size_t>(options_.probability * static_cast<double>(units) +
                                                draws.uniform());
    std::vector<Index> chosen(static_cast<std::size_t>(units));
    std::iota(chosen.begin(), chosen.end(), 0);
    draws.shuffle(std::span(chosen), std::min(count, chosen.size()));
    chosen.resize(std::min(count, chosen.size()));
    std::sort(chosen.begin(), chosen.end());
    for (const Index unit : chosen) {
      const double draw = draws.uniform();
      const auto at = static_cast<std::size_t>(unit);
      for (Index i = starts[at]; i < starts[at + 1]; ++i) {
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
  MaskingOptions options_;
  Rng rng_;
};

}  // namespace eigenformer
