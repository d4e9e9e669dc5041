// Cross entropy between logits and labels, as torch.nn.functional.cross_entropy computes it.
#pragma once

#include <span>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/kernels/softmax.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// The losses of all rows, 0 where the label is `ignored`; with smoothing e the target is
/// (1 - e) at the label plus e / classes everywhere. `probabilities` gets the softmax.
template <class Scalar>
void cross_entropy_forward(ThreadPool& pool, MatrixView<const Scalar> logits,
                           std::span<const TokenId> labels, TokenId ignored, Scalar smoothing,
                           MatrixView<Scalar> probabilities, Scalar* losses) {
  parallel_for(pool, logits.rows, 8, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Scalar* x = logits.row(i);
      const Scalar log_sum = softmax_row(x, probabilities.row(i), logits.cols);
      const TokenId label = labels[static_cast<std::size_t>(i)];
      losses[i] = 0;
      if (label == ignored) continue;
      losses[i] = (Scalar(1) - smoothing) * (log_sum - x[label]);
      if (smoothing == Scalar(0)) continue;
      Scalar sum = 0;
      for (Index j = 0; j < logits.cols; ++j) sum += log_sum - x[j];
      losses[i] += smoothing / static_cast<Scalar>(logits.cols) * sum;
    }
  });
}

/// dlogits = (softmax - target) scale, 0 in ignored rows.
template <class Scalar>
void cross_entropy_backward(ThreadPool& pool, MatrixView<const Scalar> probabilities,
                            std::span<const TokenId> labels, TokenId ignored, Scalar smoothing,
                            Scalar scale, MatrixView<Scalar> dlogits) {
  const Scalar everywhere = smoothing / static_cast<Scalar>(probabilities.cols);
  parallel_for(pool, probabilities.rows, 8, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const TokenId label = labels[static_cast<std::size_t>(i)];
      for (Index j = 0; j < probabilities.cols; ++j) {
        dlogits.row(i)[j] =
            label == ignored ? Scalar(0) : (probabilities.row(i)[j] - everywhere) * scale;
      }
      if (label != ignored) dlogits.row(i)[label] -= (Scalar(1) - smoothing) * scale;
    }
  });
}

}  // namespace eigenformer::kernels
