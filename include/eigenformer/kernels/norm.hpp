// Layer normalisation (arXiv:1607.06450) over the last axis:
//   y = (x - mean) / sqrt(variance + eps) * gamma + beta, with the biased variance.
// Two exact passes: first the mean, then the centred variance, which loses no digits.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/scratch.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

namespace detail {
inline constexpr Index norm_grain = 16;  ///< rows of one task

/// Normalises n numbers of x + residual (unless null) and keeps them in `sum` (unless null); y and
/// sum may be x. Returns 1 / sqrt(variance + eps).
template <class Scalar>
Scalar norm_row(const Scalar* x, const Scalar* residual, const Scalar* gamma, const Scalar* beta,
                Scalar eps, Scalar* y, Scalar* sum, Index n) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return active_kernels().norm_row(x, residual, gamma, beta, eps, y, sum, n);
  } else {
    Scalar mean = 0;
    for (Index j = 0; j < n; ++j) {
      y[j] = residual == nullptr ? x[j] : x[j] + residual[j];
      if (sum != nullptr) sum[j] = y[j];
      mean += y[j];
    }
    mean /= static_cast<Scalar>(n);
    Scalar variance = 0;
    for (Index j = 0; j < n; ++j) variance += (y[j] - mean) * (y[j] - mean);
    variance /= static_cast<Scalar>(n);
    const Scalar scale = Scalar(1) / std::sqrt(variance + eps);
    for (Index j = 0; j < n; ++j) y[j] = (y[j] - mean) * scale * gamma[j] + beta[j];
    return scale;
  }
}

/// The gradient for a normalised row x: dx is written, dgamma and dbeta are added to. Each of the
/// three may be null.
template <class Scalar>
void norm_row_backward(const Scalar* x, const Scalar* gamma, Scalar scale, const Scalar* dy,
                       Scalar* dx, Scalar* dgamma, Scalar* dbeta, Index n) {
  if constexpr (std::is_same_v<Scalar, float>) {
    active_kernels().norm_row_backward(x, gamma, scale, dy, dx, dgamma, dbeta, n);
  } else {
    Scalar mean = 0;
    for (Index j = 0; j < n; ++j) mean += x[j];
    mean /= static_cast<Scalar>(n);
    Scalar mean_g = 0;         // of g = dy gamma
    Scalar mean_g_normal = 0;  // of g times the normalised x
    for (Index j = 0; j < n; ++j) {
      mean_g += dy[j] * gamma[j];
      mean_g_normal += dy[j] * gamma[j] * (x[j] - mean) * scale;
    }
    mean_g /= static_cast<Scalar>(n);
    mean_g_normal /= static_cast<Scalar>(n);
    for (Index j = 0; j < n; ++j) {
      const Scalar normal = (x[j] - mean) * scale;
      if (dgamma != nullptr) dgamma[j] += dy[j] * normal;
      if (dbeta != nullptr) dbeta[j] += dy[j];
      if (dx != nullptr) dx[j] = scale * (dy[j] * gamma[j] - mean_g - normal * mean_g_normal);
    }
  }
}

}  // namespace detail

/// y = norm(x + residual). `residual` may be empty; `sum` (x + residual) and `inverse_deviation`
/// `[rows]` are kept for the backward pass unless empty or null. `sum` may be x.
template <class Scalar>
void layer_norm_forward(ThreadPool& pool, MatrixView<const Scalar> x,
                        MatrixView<const Scalar> residual, const Scalar* gamma, const Scalar* beta,
                        Scalar eps, MatrixView<Scalar> y, MatrixView<Scalar> sum,
                        Scalar* inverse_deviation) {
  parallel_for(pool, x.rows, detail::norm_grain, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Scalar scale =
          detail::norm_row(x.row(i), residual.data == nullptr ? nullptr : residual.row(i), gamma,
                           beta, eps, y.row(i), sum.data == nullptr ? nullptr : sum.row(i), x.cols);
      if (inverse_deviation != nullptr) inverse_deviation[i] = scale;
    }
  });
}

/// Gradients for the normalised rows `x` (the sum, where there was a residual): `dx` is written,
/// `dgamma` and `dbeta` `[cols]` are added to. Any of the three may be empty or null.
template <class Scalar>
void layer_norm_backward(ThreadPool& pool, MatrixView<const Scalar> x, const Scalar* gamma,
                         const Scalar* inverse_deviation, MatrixView<const Scalar> dy,
                         MatrixView<Scalar> dx, Scalar* dgamma, Scalar* dbeta) {
  // Each block of rows has sums of its own, so that the threads do not matter.
  constexpr Index block = 64;
  const Index n = x.cols;
  const Index blocks = (x.rows + block - 1) / block;
  Scalar* const sums = detail::scratch<Scalar, detail::Scratch::rows>(blocks * 2 * n);
  std::fill_n(sums, blocks * 2 * n, Scalar(0));
  parallel_for(pool, x.rows, block, [&](Index begin, Index end) {
    Scalar* const gamma_sum = sums + begin / block * 2 * n;
    for (Index i = begin; i < end; ++i) {
      detail::norm_row_backward(x.row(i), gamma, inverse_deviation[i], dy.row(i),
                                dx.data == nullptr ? nullptr : dx.row(i),
                                dgamma == nullptr ? nullptr : gamma_sum,
                                dbeta == nullptr ? nullptr : gamma_sum + n, n);
    }
  });
  for (Index i = 0; i < blocks; ++i) {
    for (Index j = 0; j < n; ++j) {
      if (dgamma != nullptr) dgamma[j] += sums[2 * i * n + j];
      if (dbeta != nullptr) dbeta[j] += sums[(2 * i + 1) * n + j];
    }
  }
}

}  // namespace eigenformer::kernels
