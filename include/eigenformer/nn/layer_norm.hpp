// Layer normalisation with a learned scale and shift (arXiv:1607.06450).
#pragma once

#include <cmath>
#include <vector>

#include "eigenformer/autograd/ops/norm.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// Normalises the last axis, of size `size`. Mirrors torch.nn.LayerNorm.
template <class Scalar>
class LayerNorm {
 public:
  /// Scale 1 and shift 0; `eps` is added to the variance.
  explicit LayerNorm(Index size, double eps = 1e-5, const Initializer& init = {})
      : weight_(init.constant<Scalar>({size}, 1)),
        bias_(init.constant<Scalar>({size}, 0)),
        eps_(eps) {}

  /// norm(x) for `x` `[..., size]`. Throws ShapeError.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x) const {
    return layer_norm(cx, x, Tensor<Scalar>(), weight_(cx), bias_(cx), eps_);
  }
  /// norm(x + residual), in one pass; `into` as in layer_norm.
  Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x, const Tensor<Scalar>& residual,
                            const Tensor<Scalar>& into = {}) const {
    return layer_norm(cx, x, residual, weight_(cx), bias_(cx), eps_, into);
  }

  /// What the outputs `[size]` hardly ever exceed: three deviations round their mean.
  [[nodiscard]] std::vector<float> reach() const {
    std::vector<float> reach(static_cast<std::size_t>(weight_.shape()[0]));
    for (std::size_t i = 0; i < reach.size(); ++i) {
      reach[i] = static_cast<float>(3 * std::abs(weight_.value().data()[i]) +
                                    std::abs(bias_.value().data()[i]));
    }
    return reach;
  }

  /// Visits `weight` and `bias`: gamma and beta, `[size]`.
  static void visit(auto& self, auto&& f) {
    f("weight", self.weight_);
    f("bias", self.bias_);
  }

 private:
  Parameter<Scalar> weight_;  // [size]
  Parameter<Scalar> bias_;    // [size]
  double eps_;
};

}  // namespace eigenformer
