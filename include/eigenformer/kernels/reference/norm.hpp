// Reference of layer normalisation:
//   y = n gamma + beta,  n = (s - mean(s)) / sqrt(variance(s) + eps),  s = x + residual.
//   ds = (g - mean(g) - n mean(g n)) / sqrt(variance(s) + eps),  g = dy gamma.
#pragma once

#include <cmath>

#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/reference/wide.hpp"

namespace eigenformer::kernels::reference {

/// y = norm(x + residual); `residual`, `sum` and `inverse_deviation` may be empty or null.
template <class Scalar>
void layer_norm_forward(MatrixView<const Scalar> x, MatrixView<const Scalar> residual,
                        const Scalar* gamma, const Scalar* beta, Scalar eps, MatrixView<Scalar> y,
                        MatrixView<Scalar> sum, Scalar* inverse_deviation) {
  const Index n = x.cols;
  const auto count = static_cast<Wide<Scalar>>(n);
  for (Index i = 0; i < x.rows; ++i) {
    const auto s = [&](Index j) {
      return Wide<Scalar>(x.row(i)[j]) + (residual.data == nullptr ? 0 : residual.row(i)[j]);
    };
    Wide<Scalar> mean = 0;
    for (Index j = 0; j < n; ++j) mean += s(j) / count;
    Wide<Scalar> variance = 0;
    for (Index j = 0; j < n; ++j) variance += (s(j) - mean) * (s(j) - mean) / count;
    const Wide<Scalar> deviation = std::sqrt(variance + eps);
    if (inverse_deviation != nullptr) inverse_deviation[i] = static_cast<Scalar>(1 / deviation);
    for (Index j = 0; j < n; ++j) {
      y.row(i)[j] = static_cast<Scalar>((s(j) - mean) / deviation * gamma[j] + beta[j]);
    }
    for (Index j = 0; sum.data != nullptr && j < n; ++j) {
      sum.row(i)[j] = static_cast<Scalar>(s(j));
    }
  }
}

/// Gradients for the normalised rows `x`: `dx` is written, `dgamma` and `dbeta` are added to. Any
/// of the three may be empty or null.
template <class Scalar>
void layer_norm_backward(MatrixView<const Scalar> x, const Scalar* gamma,
                         const Scalar* inverse_deviation, MatrixView<const Scalar> dy,
                         MatrixView<Scalar> dx, Scalar* dgamma, Scalar* dbeta) {
  const Index n = x.cols;
  const auto count = static_cast<Wide<Scalar>>(n);
  for (Index i = 0; i < x.rows; ++i) {
    Wide<Scalar> mean = 0;
    for (Index j = 0; j < n; ++j) mean += Wide<Scalar>(x.row(i)[j]) / count;
    const auto normal = [&](Index j) { return (x.row(i)[j] - mean) * inverse_deviation[i]; };
    const auto g = [&](Index j) { return Wide<Scalar>(dy.row(i)[j]) * gamma[j]; };
    Wide<Scalar> mean_g = 0;
    Wide<Scalar> mean_g_normal = 0;
    for (Index j = 0; j < n; ++j) {
      mean_g += g(j) / count;
      mean_g_normal += g(j) * normal(j) / count;
    }
    for (Index j = 0; j < n; ++j) {
      if (dx.data != nullptr) {
        dx.row(i)[j] =
            static_cast<Scalar>(inverse_deviation[i] * (g(j) - mean_g - normal(j) * mean_g_normal));
      }
      if (dgamma != nullptr) dgamma[j] += static_cast<Scalar>(dy.row(i)[j] * normal(j));
      if (dbeta != nullptr) dbeta[j] += dy.row(i)[j];
    }
  }
}

}  // namespace eigenformer::kernels::reference
