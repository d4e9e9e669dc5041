// Linear layer: y = activation(x W^T + b), with W stored [out, in] as torch.nn.Linear does.
#pragma once

#include "eigenformer/autograd/ops/linear.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// An affine map of the last axis, `[..., in]` to `[..., out]`. Mirrors torch.nn.Linear.
template <class Scalar>
class Linear {
 public:
  Linear(Index in, Index out, const Initializer& init = {})
      : weight_(init.normal<Scalar>({out, in})), bias_(init.constant<Scalar>({out}, 0)) {}

  /// Throws ShapeError unless the last size of `x` is `in`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          Activation activation = Activation::none) const {
    return linear(cx, x, weight_(cx), bias_(cx), activation, weight_.packed(cx));
  }

  /// The same for output columns `begin` to `end` alone: `[..., end - begin]`.
  [[nodiscard]] Tensor<Scalar> columns(Context& cx, const Tensor<Scalar>& x, RowRange range) const {
    return linear(cx, x, rows(cx, weight_(cx), range), rows(cx, bias_(cx), range));
  }

  [[nodiscard]] const Parameter<Scalar>& weight() const noexcept { return weight_; }  ///< [out, in]
  [[nodiscard]] const Parameter<Scalar>& bias() const noexcept { return bias_; }      ///< [out]
  [[nodiscard]] Parameter<Scalar>& weight() noexcept { return weight_; }
  [[nodiscard]] Parameter<Scalar>& bias() noexcept { return bias_; }

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight_);
    f("bias", self.bias_);
  }

 private:
  Parameter<Scalar> weight_;
  Parameter<Scalar> bias_;
};

}  // namespace eigenformer
