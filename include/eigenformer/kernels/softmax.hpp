// Softmax over the last axis: exp(x - max) / sum, exact in two passes over a row.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"

namespace eigenformer::kernels {

/// y = softmax(x) for one row of n numbers; y may be x. Returns log(sum(exp(x))).
template <class Scalar>
Scalar softmax_row(const Scalar* x, Scalar* y, Index n) noexcept {
  if constexpr (std::is_same_v<Scalar, float>) {
    float top = 0;
    const float sum = active_kernels().softmax_row(x, y, n, &top);
    return top + std::log(sum);
  } else {
    Scalar top = -std::numeric_limits<Scalar>::infinity();
    for (Index j = 0; j < n; ++j) top = x[j] > top ? x[j] : top;
    Scalar sum = 0;
    for (Index j = 0; j < n; ++j) sum += y[j] = std::exp(x[j] - top);
    const Scalar scale = Scalar(1) / sum;
    for (Index j = 0; j < n; ++j) y[j] *= scale;
    return top + std::log(sum);
  }
}

/// dx = y (dy - sum(dy y)) for one row whose softmax is y; dx may be dy.
template <class Scalar>
void softmax_row_backward(const Scalar* y, const Scalar* dy, Scalar* dx, Index n) noexcept {
  Scalar product = 0;
  for (Index j = 0; j < n; ++j) product += y[j] * dy[j];
  for (Index j = 0; j < n; ++j) dx[j] = y[j] * (dy[j] - product);
}

}  // namespace eigenformer::kernels
