// The gradients of a model, name by name: their norm, and what clipping makes of it.
#pragma once

#include <cmath>
#include <string_view>

#include "eigenformer/kernels/adamw.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// Calls f(named, gradient) for a name of a parameter that is trained, with the name's share of the
/// parameter's gradient, without gaps; a second name of it has none.
template <class Named, class Scalar, class Function>
void with_gradient(const Named& named, const Tensor<Scalar>& gradient, Function&& f) {
  if (named.tied || !named.parameter.trainable) return;
  const Tensor<Scalar> whole = gradient.contiguous() ? gradient : gradient.clone();
  f(named, named.whole() ? whole : whole.rows(named.begin, named.end));
}

/// Calls f(named, gradient) for every parameter of `model` that is trained and has a gradient, in
/// the model's order.
template <class Scalar, class Model, class Function>
void for_each_gradient(Model& model, const Gradients<Scalar>& gradients, Function&& f) {
  for (const auto& named : named_parameters(model)) {
    const auto& parameter = std::as_const(named.parameter);
    if (!parameter.defined()) continue;
    const Tensor<Scalar>* const found = gradients.find(parameter.value());
    if (found != nullptr) with_gradient(named, *found, f);
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
