// Cross entropy between logits and labels, as torch.nn.functional.cross_entropy computes it.
#pragma once

#include <span>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/kernels/scratch.hpp"
#include "eigenformer/kernels/softmax.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// What logits are compared with. With smoothing e the target is (1 - e) at the label plus
/// e / classes everywhere; the term of each class is multiplied with the class's weight.
template <class Scalar>
struct CrossEntropyTarget {
  std::span<const TokenId> labels;       ///< `[rows]`
  TokenId ignored = -100;                ///< a label that does not count
  Scalar smoothing = 0;                  ///< in [0, 1]
  std::span<const Scalar> weights = {};  ///< `[classes]`, or empty: all 1

  /// The label of a row.
  [[nodiscard]] TokenId label(Index row) const { return labels[static_cast<std::size_t>(row)]; }
  /// The weight of a class.
  [[nodiscard]] Scalar weight(Index label) const {
    return weights.empty() ? Scalar(1) : weights[static_cast<std::size_t>(label)];
  }
};

/// The losses of all rows, 0 where the label is ignored.
template <class Scalar>
void cross_entropy_forward(ThreadPool& pool, MatrixView<const Scalar> logits,
                           const CrossEntropyTarget<Scalar>& target, Scalar* losses) {
  const Scalar smoothing = target.smoothing;
  parallel_for(pool, logits.rows, 8, [&](Index begin, Index end) {
    Scalar* const probabilities = detail::scratch<Scalar, detail::Scratch::scores>(logits.cols);
    for (Index i = begin; i < end; ++i) {
      const Scalar* x = logits.row(i);
      const TokenId label = target.label(i);
      losses[i] = 0;
      if (label == target.ignored) continue;
      const Scalar log_sum = softmax_row(x, probabilities, logits.cols);
      losses[i] = (Scalar(1) - smoothing) * target.weight(label) * (log_sum - x[label]);
      if (smoothing == Scalar(0)) continue;
      Scalar sum = 0;
      for (Index j = 0; j < logits.cols; ++j) sum += target.weight(j) * (log_sum - x[j]);
      losses[i] += smoothing / static_cast<Scalar>(logits.cols) * sum;
    }
  });
}

/// dlogits, which may be the logits, = (softmax - target) scale with all weights 1, 0 in ignored
/// rows.
template <class Scalar>
void cross_entropy_backward(ThreadPool& pool, MatrixView<const Scalar> logits,
                            const CrossEntropyTarget<Scalar>& target, Scalar scale,
                            MatrixView<Scalar> dlogits) {
  const Scalar everywhere = target.smoothing / static_cast<Scalar>(logits.cols);
  Scalar all = 0;  // the sum of the weights' shares that the smoothing spreads
  for (Index j = 0; j < logits.cols; ++j) all += everywhere * target.weight(j);
  parallel_for(pool, logits.rows, 8, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const TokenId label = target.label(i);
      if (label == target.ignored) {
        std::fill_n(dlogits.row(i), dlogits.cols, Scalar(0));
        continue;
      }
      const Scalar own = (Scalar(1) - target.smoothing) * target.weight(label);
      Scalar* const d = dlogits.row(i);
      (void)softmax_row(logits.row(i), d, logits.cols);
      for (Index j = 0; j < logits.cols; ++j) {
        d[j] = ((own + all) * d[j] - everywhere * target.weight(j)) * scale;
      }
      d[label] -= own * scale;
    }
  });
}

}  // namespace eigenformer::kernels
