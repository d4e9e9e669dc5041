// Choosing the next token from logits: the most likely one, or one drawn from what a temperature,
// top-k and top-p leave.
// Mirrors transformers/generation/logits_process.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// How a next token is chosen.
struct SamplingOptions {
  /// What logits are divided by before one is drawn; 0: the most likely token is taken.
  double temperature = 0;
  Index top_k = 0;                ///< only the most likely ones are drawn; 0: all may be
  double top_p = 1;               ///< only the most likely ones of this probability together
  double repetition_penalty = 1;  ///< see penalize_repetition(); 1: none
  std::uint64_t seed = 0;         ///< equal seeds draw equal tokens

  /// Throws Error for a value out of its range.
  void validate() const {
    check(temperature >= 0 && std::isfinite(temperature), "sampling: temperature is ", temperature,
          "; it must be 0 or more, and finite");
    check(top_k >= 0, "sampling: top_k is ", top_k, "; it must be 0 or more");
    check(top_p > 0 && top_p <= 1, "sampling: top_p is ", top_p,
          "; it must be above 0 and at most 1");
    check(repetition_penalty > 0 && std::isfinite(repetition_penalty),
          "sampling: repetition_penalty is ", repetition_penalty,
          "; it must be above 0, and finite");
  }
};

/// Makes the tokens of `ids` less likely: their logits `[vocab]` are divided by `penalty` where
/// they are positive, else multiplied with it. Throws ShapeError for an id outside the vocabulary.
/// (Keskar et al., arXiv:1909.05858; mirrors RepetitionPenaltyLogitsProcessor)
template <class Scalar>
void penalize_repetition(std::span<Scalar> logits, std::span<const TokenId> ids, double penalty) {
  std::vector<bool> done(logits.size(), false);
  for (const TokenId id : ids) {
    const auto at = static_cast<std::size_t>(id);
    check<ShapeError>(at < logits.size(), "sampling: id ", id, " is outside the vocabulary of ",
                      logits.size());
    if (done[at]) continue;
    done[at] = true;
    logits[at] = static_cast<Scalar>(logits[at] < 0 ? logits[at] * penalty : logits[at] / penalty);
  }
}

/// Leaves the `k` largest logits, and those that equal the last of them; the others become
/// -infinity. None is NaN. Throws Error for k below 1. Mirrors TopKLogitsWarper.
template <class Scalar>
void keep_top_k(std::span<Scalar> logits, Index k) {
  check(k >= 1, "sampling: top_k is ", k, "; it must be 1 or more");
  if (k >= static_cast<Index>(logits.size())) return;
  std::vector<Scalar> sorted(logits.begin(), logits.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const Scalar least = sorted[static_cast<std::size_t>(k - 1)];
  for (Scalar& logit : logits) {
    if (logit < least) logit = -std::numeric_limits<Scalar>::infinity();
  }
}

/// Leaves the fewest of the most likely tokens that have a probability of at least `p` together;
/// the logits of the others become -infinity. None is NaN. (Holtzman et al., arXiv:1904.09751;
/// mirrors TopPLogitsWarper)
template <class Scalar>
void keep_top_p(std::span<Scalar> logits, double p) {
  if (logits.empty()) return;
  std::vector<std::size_t> rising(logits.size());
  std::iota(rising.begin(), rising.end(), std::size_t{0});
  std::stable_sort(rising.begin(), rising.end(),
                   [&](std::size_t a, std::size_t b) { return logits[a] < logits[b]; });
  const auto weight = [&, most = logits[rising.back()]](std::size_t i) {
    return std::exp(static_cast<double>(logits[i] - most));
  };
  double sum = 0;
  for (const std::size_t i : rising) sum += weight(i);
  double below = 0;  // probability of this token and of all that are less likely
  for (const std::size_t i : rising) {
    below += weight(i) / sum;
    if (below > 1 - p || i == rising.back()) break;
    logits[i] = -std::numeric_limits<Scalar>::infinity();
  }
}

/// The token that follows `text`, of which `logits` `[vocab]` are changed on the way: the first of
/// the most likely ones, or the one that `uniform`, from [0, 1), draws. Throws Error for a logit
/// that is NaN, and where the largest is not finite.
template <class Scalar>
[[nodiscard]] TokenId next_token(std::span<Scalar> logits, std::span<const TokenId> text,
                                 const SamplingOptions& options, double uniform) {
  if (options.repetition_penalty != 1) {
    penalize_repetition(logits, text, options.repetition_penalty);
  }
  const auto is_nan = [](Scalar logit) { return std::isnan(logit); };
  const auto most = std::max_element(logits.begin(), logits.end());
  check(most != logits.end() && std::isfinite(*most) && std::ranges::none_of(logits, is_nan),
        "sampling: of ", logits.size(), " logits one is NaN, or the largest is infinite");
  if (options.temperature == 0) return static_cast<TokenId>(most - logits.begin());
  for (Scalar& logit : logits) logit = static_cast<Scalar>(logit / options.temperature);
  if (options.top_k > 0) keep_top_k(logits, options.top_k);
  if (options.top_p < 1) keep_top_p(logits, options.top_p);
  const double largest = static_cast<double>(*most);
  const auto weight = [&](Scalar logit) { return std::exp(static_cast<double>(logit) - largest); };
  double sum = 0;
  for (const Scalar logit : logits) sum += weight(logit);
  double left = uniform * sum;
  TokenId drawn = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double w = weight(logits[i]);
    if (w == 0) continue;
    drawn = static_cast<TokenId>(i);  // rounding may leave a rest after the last one
    left -= w;
    if (left < 0) break;
  }
  return drawn;
}

}  // namespace eigenformer
