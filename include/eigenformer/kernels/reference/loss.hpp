// Reference of cross entropy: the loss of a row is -sum over j of t[j] log p[j], with the softmax p
// and the target t[j] = (1 - smoothing) [j = label] + smoothing / classes.
#pragma once

#include <cmath>
#include <span>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/kernels/reference/softmax.hpp"

namespace eigenformer::kernels::reference {

/// The target t[j] of one row.
template <class Scalar>
[[nodiscard]] Wide<Scalar> smoothed_target(Index j, TokenId label, Scalar smoothing,
                                           Index classes) {
  const Wide<Scalar> share = smoothing;
  return (j == label ? 1 - share : 0) + share / static_cast<Wide<Scalar>>(classes);
}

/// The losses of all rows, 0 where the label is `ignored`. `probabilities` gets the softmax.
template <class Scalar>
void cross_entropy_forward(MatrixView<const Scalar> logits, std::span<const TokenId> labels,
                           TokenId ignored, Scalar smoothing, MatrixView<Scalar> probabilities,
                           Scalar* losses) {
  for (Index i = 0; i < logits.rows; ++i) {
    const TokenId label = labels[static_cast<std::size_t>(i)];
    const Wide<Scalar> log_sum = log_sum_exp(logits.row(i), logits.cols);
    Wide<Scalar> loss = 0;
    for (Index j = 0; j < logits.cols; ++j) {
      const Wide<Scalar> log_p = logits.row(i)[j] - log_sum;
      const Wide<Scalar> target = smoothed_target(j, label, smoothing, logits.cols);
      if (label != ignored && target != 0) loss -= target * log_p;
      probabilities.row(i)[j] = static_cast<Scalar>(std::exp(log_p));
    }
    losses[i] = static_cast<Scalar>(loss);
  }
}

/// dlogits = (softmax - target) scale, 0 in ignored rows.
template <class Scalar>
void cross_entropy_backward(MatrixView<const Scalar> probabilities, std::span<const TokenId> labels,
                            TokenId ignored, Scalar smoothing, Scalar scale,
                            MatrixView<Scalar> dlogits) {
  for (Index i = 0; i < probabilities.rows; ++i) {
    const TokenId label = labels[static_cast<std::size_t>(i)];
    for (Index j = 0; j < probabilities.cols; ++j) {
      const Wide<Scalar> target = smoothed_target(j, label, smoothing, probabilities.cols);
      const Wide<Scalar> slope = (probabilities.row(i)[j] - target) * scale;
      dlogits.row(i)[j] = label == ignored ? Scalar(0) : static_cast<Scalar>(slope);
    }
  }
}

}  // namespace eigenformer::kernels::reference
