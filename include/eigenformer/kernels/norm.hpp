// Layer normalisation (arXiv:1607.06450) over the last axis:
//   y = (x - mean) / sqrt(variance + eps) * gamma + beta, with the biased variance.
// Two exact passes: first the mean, then the centred variance, which loses no digits.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
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
  const Index n = x.cols;
  const auto mean_of = [n](const Scalar* row) {
    Scalar mean = 0;
    for (Index j = 0; j < n; ++j) mean += row[j];
    return mean / static_cast<Scalar>(n);
  };
  if (dx.data != nullptr) {
    parallel_for(pool, x.rows, detail::norm_grain, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const Scalar mean = mean_of(x.row(i));
        const Scalar scale = inverse_deviation[i];
        Scalar mean_g = 0;         // of g = dy gamma
        Scalar mean_g_normal = 0;  // of g times the normalised x
        for (Index j = 0; j < n; ++j) {
          const Scalar g = dy.row(i)[j] * gamma[j];
          mean_g += g;
          mean_g_normal += g * (x.row(i)[j] - mean) * scale;
        }
        mean_g /= static_cast<Scalar>(n);
        mean_g_normal /= static_cast<Scalar>(n);
        for (Index j = 0; j < n; ++j) {
          const Scalar normal = (x.row(i)[j] - mean) * scale;
          dx.row(i)[j] = scale * (dy.row(i)[j] * gamma[j] - mean_g - normal * mean_g_normal);
        }
      }
    });
  }
  for (Index i = 0; i < x.rows; ++i) {
    const Scalar mean = dgamma == nullptr ? Scalar(0) : mean_of(x.row(i));
    for (Index j = 0; j < n; ++j) {
      if (dgamma != nullptr) {
        dgamma[j] += dy.row(i)[j] * (x.row(i)[j] - mean) * inverse_deviation[i];
      }
      if (dbeta != nullptr) dbeta[j] += dy.row(i)[j];
    }
  }
}

}  // namespace eigenformer::kernels
