// Reference of the activations and their derivatives. The tanh form of GELU is written with the
// logistic function s(u) = 1 / (1 + exp(-u)), since (1 + tanh(u)) / 2 = s(2 u).
#pragma once

#include <cmath>
#include <numbers>

#include "eigenformer/base/activation.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/kernels/reference/wide.hpp"

namespace eigenformer::kernels::reference {

/// s(u) = 1 / (1 + exp(-u)).
template <class Real>
[[nodiscard]] Real logistic(Real u) {
  return 1 / (1 + std::exp(-u));
}

/// f(x).
template <class Real>
[[nodiscard]] Real activation_value(Activation activation, Real x) {
  const Real root = std::sqrt(2 / std::numbers::pi_v<Real>);
  switch (activation) {
    case Activation::none: return x;
    case Activation::gelu: return x * std::erfc(-x / std::numbers::sqrt2_v<Real>) / 2;
    case Activation::gelu_tanh: return x * logistic(2 * root * (x + Real(0.044715L) * x * x * x));
    case Activation::relu: return x < 0 ? 0 : x;
    case Activation::silu: return x * logistic(x);
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

/// f'(x).
template <class Real>
[[nodiscard]] Real activation_slope(Activation activation, Real x) {
  const Real root = std::sqrt(2 / std::numbers::pi_v<Real>);
  switch (activation) {
    case Activation::none: return 1;
    case Activation::gelu:
      return std::erfc(-x / std::numbers::sqrt2_v<Real>) / 2 +
             x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<Real>);
    case Activation::gelu_tanh: {
      const Real u = 2 * root * (x + Real(0.044715L) * x * x * x);
      const Real du = 2 * root * (1 + 3 * Real(0.044715L) * x * x);
      return logistic(u) + x * logistic(u) * logistic(-u) * du;
    }
    case Activation::relu: return x <= 0 ? 0 : 1;
    case Activation::silu: return logistic(x) + x * logistic(x) * logistic(-x);
    case Activation::tanh: return 1 - std::tanh(x) * std::tanh(x);
  }
  return 1;
}

/// y = f(x) for n numbers.
template <class Scalar>
void activate(Activation activation, const Scalar* x, Scalar* y, Index n) {
  for (Index i = 0; i < n; ++i) {
    y[i] = static_cast<Scalar>(activation_value<Wide<Scalar>>(activation, x[i]));
  }
}

/// dx = f'(x) dy for n numbers.
template <class Scalar>
void activate_backward(Activation activation, const Scalar* x, const Scalar* dy, Scalar* dx,
                       Index n) {
  for (Index i = 0; i < n; ++i) {
    dx[i] = static_cast<Scalar>(activation_slope<Wide<Scalar>>(activation, x[i]) * dy[i]);
  }
}

}  // namespace eigenformer::kernels::reference
