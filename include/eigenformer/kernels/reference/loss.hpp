// Reference of cross entropy: the loss of a row is -sum over j of t[j] w[j] log p[j], with the
// softmax p, the classes' weights w and the target
// t[j] = (1 - smoothing) [j = label] + smoothing / classes.
#pragma once

#include <cmath>

#include "eigenformer/kernels/loss.hpp"
#include "eigenformer/kernels/reference/softmax.hpp"

namespace eigenformer::kernels::reference {

/// t[j] w[j] of one row.
template <class Scalar>
[[nodiscard]] Wide<Scalar> weighted_target(const CrossEntropyTarget<Scalar>& target, Index row,
                                           Index j, Index classes) {
  const Wide<Scalar> share = target.smoothing;
  const Wide<Scalar> t =
      (j == target.label(row) ? 1 - share : 0) + share / static_cast<Wide<Scalar>>(classes);
  return t * target.weight(j);
}

/// The losses of all rows, 0 where the label is ignored.
template <class Scalar>
void cross_entropy_forward(MatrixView<const Scalar> logits,
                           const CrossEntropyTarget<Scalar>& target, Scalar* losses) {
  for (Index i = 0; i < logits.rows; ++i) {
    const Wide<Scalar> log_sum = log_sum_exp(logits.row(i), logits.cols);
    Wide<Scalar> loss = 0;
    for (Index j = 0; j < logits.cols; ++j) {
      const Wide<Scalar> log_p = logits.row(i)[j] - log_sum;
      const Wide<Scalar> t = weighted_target(target, i, j, logits.cols);
      if (target.label(i) != target.ignored && t != 0) loss -= t * log_p;
    }
    losses[i] = static_cast<Scalar>(loss);
  }
}

/// dlogits = scale times the slope of the loss, p[j] sum(t w) - t[j] w[j]; 0 in ignored rows.
template <class Scalar>
void cross_entropy_backward(MatrixView<const Scalar> logits,
                            const CrossEntropyTarget<Scalar>& target, Scalar scale,
                            MatrixView<Scalar> dlogits) {
  const Index classes = logits.cols;
  for (Index i = 0; i < logits.rows; ++i) {
    const Wide<Scalar> log_sum = log_sum_exp(logits.row(i), classes);
    Wide<Scalar> all = 0;
    for (Index j = 0; j < classes; ++j) all += weighted_target(target, i, j, classes);
    for (Index j = 0; j < classes; ++j) {
      const Wide<Scalar> slope =
          (std::exp(logits.row(i)[j] - log_sum) * all - weighted_target(target, i, j, classes)) *
          scale;
      const bool counts = target.label(i) != target.ignored;
      dlogits.row(i)[j] = counts ? static_cast<Scalar>(slope) : Scalar(0);
    }
  }
}

}  // namespace eigenformer::kernels::reference
