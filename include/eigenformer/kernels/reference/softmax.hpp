// Reference of softmax: y[j] = exp(x[j] - max) / sum over k of exp(x[k] - max).
#pragma once

#include <cmath>
#include <limits>

#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/reference/wide.hpp"

namespace eigenformer::kernels::reference {

/// log(sum(exp(x))) for one row of n >= 1 numbers.
template <class Scalar>
[[nodiscard]] Wide<Scalar> log_sum_exp(const Scalar* x, Index n) {
  Wide<Scalar> top = x[0];
  for (Index j = 0; j < n; ++j) top = std::fmax(top, Wide<Scalar>(x[j]));
  Wide<Scalar> sum = 0;
  for (Index j = 0; j < n; ++j) sum += std::exp(x[j] - top);
  return top + std::log(sum);
}

/// y = softmax(x) for one row of n numbers; y may be x. Returns log(sum(exp(x))).
template <class Scalar>
Scalar softmax_row(const Scalar* x, Scalar* y, Index n) {
  if (n == 0) return -std::numeric_limits<Scalar>::infinity();
  const Wide<Scalar> log_sum = log_sum_exp(x, n);
  for (Index j = 0; j < n; ++j) y[j] = static_cast<Scalar>(std::exp(x[j] - log_sum));
  return static_cast<Scalar>(log_sum);
}

/// dx[j] = sum over k of dy[k] y[k] ([j = k] - y[j]); dx may be dy.
template <class Scalar>
void softmax_row_backward(const Scalar* y, const Scalar* dy, Scalar* dx, Index n) {
  Wide<Scalar> product = 0;
  for (Index k = 0; k < n; ++k) product += Wide<Scalar>(dy[k]) * y[k];
  for (Index j = 0; j < n; ++j) dx[j] = static_cast<Scalar>(y[j] * (dy[j] - product));
}

}  // namespace eigenformer::kernels::reference
