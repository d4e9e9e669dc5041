// Ranking: which of many scores are the best, in one order for equal ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"

namespace eigenformer {

/// The `top_k` of `candidates` whose `scores[candidate]` are largest, the largest first, equal ones
/// by number; all where there are fewer. Throws Error for a score that is not a number.
template <class Scalar, class Number>
[[nodiscard]] std::vector<Number> best_first(const Scalar* scores, std::vector<Number> candidates,
                                             Index top_k) {
  for (const Number i : candidates) {
    check(!std::isnan(scores[i]), "ranking: score ", i,
          " is not a number; the model's weights or activations are not finite");
  }
  const auto count = std::min(static_cast<Index>(candidates.size()), top_k);
  std::partial_sort(
      candidates.begin(), candidates.begin() + count, candidates.end(),
      [&](Number a, Number b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  candidates.resize(static_cast<std::size_t>(count));
  return candidates;
}

/// The same of all `count` scores; all of them for a `top_k` of 0.
template <class Scalar>
[[nodiscard]] std::vector<Index> best_first(const Scalar* scores, Index count, Index top_k) {
  std::vector<Index> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), Index{0});
  return best_first(scores, std::move(all), top_k == 0 ? count : top_k);
}

}  // namespace eigenformer
