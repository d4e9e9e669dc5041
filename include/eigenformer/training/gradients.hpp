// The gradients of a model, name by name: their norm, and what clipping makes of it.
#pragma once

#include <cmath>
#include <string_view>

#include "eigenformer/kernels/adamw.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// Calls f(named, gradient) for every parameter of `model` that is trained and has a gradient, in
/// the model's order, tied ones once; the gradients without gaps. What has a name of its own has
/// its own share of the gradient.
template <class Scalar, class Model, class Function>
void for_each_gradient(Model& model, const Gradients<Scalar>& gradients, Function&& f) {
  for (const auto& named : named_parameters(model)) {
    const auto& parameter = std::as_const(named.parameter);
    if (named.tied || !parameter.trainable || !parameter.defined()) continue;
    const Tensor<Scalar>* found = gradients.find(parameter.value());
    if (found == nullptr) continue;
    const Tensor<Scalar> gradient = found->contiguous() ? *found : found->clone();
    f(named, named.whole() ? gradient : gradient.rows(named.begin, named.end));
  }
}

/// The Euclidean norm of all gradients together, summed up in double. Mirrors
/// torch.nn.utils.get_total_norm.
template <class Scalar, class Model>
[[nodiscard]] double gradient_norm(const Model& model, const Gradients<Scalar>& gradients) {
  double sum = 0;
  for_each_gradient(model, gradients, [&](const auto&, const Tensor<Scalar>& gradient) {
    sum += kernels::sum_of_squares(gradient.data(), gradient.numel());
  });
  return std::sqrt(sum);
}

/// What to multiply gradients of that norm with so that it is at most `most`; 1 where `most` is 0.
/// Mirrors torch.nn.utils.clip_grad_norm_.
[[nodiscard]] inline double clip_factor(double norm, double most) noexcept {
  if (most <= 0) return 1;
  return std::fmin(1.0, most / (norm + 1e-6));
}

}  // namespace eigenformer
