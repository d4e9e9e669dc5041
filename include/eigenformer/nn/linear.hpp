// Linear layer: y = activation(x W^T + b), with W stored [out, in] as torch.nn.Linear does.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include "eigenformer/autograd/ops/linear.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/layer_norm.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// activation(x weight^T + bias), by the packed weights where there are any; `bias` may be
/// undefined.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> linear(Context& cx, const Tensor<Scalar>& x,
                                    const Parameter<Scalar>& weight, const Tensor<Scalar>& bias,
                                    Activation activation = Activation::none) {
  if constexpr (kernels::uses_packed_weights<Scalar>) {
    if (const kernels::PackedWeight* packed = weight.packed(cx)) {
      return linear(cx, x, *packed, bias, activation);
    }
  }
  return linear(cx, x, weight(cx), bias, activation);
}
/// The same with a bias that is a parameter.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> linear(Context& cx, const Tensor<Scalar>& x,
                                    const Parameter<Scalar>& weight, const Parameter<Scalar>& bias,
                                    Activation activation = Activation::none) {
  return linear(cx, x, weight, bias(cx), activation);
}

/// Packs the weight of a linear layer whose inputs come from `norm`, unless null. For int8 their
/// reach and the weights' are balanced, input by input: a scale moves from the norm's gamma into
/// the weight, so that inputs far larger than others cost neither of them their digits.
/// (SmoothQuant, arXiv:2211.10438; gamma migration, arXiv:2209.13325)
template <class Scalar>
void pack_weight(ThreadPool& threads, Precision precision, Parameter<Scalar>& weight,
                 const LayerNorm<Scalar>* norm) {
  std::vector<float> scale;  // [in]
  if (precision == Precision::int8 && norm != nullptr) {
    scale = norm->reach();
    const MatrixView<const Scalar> w = std::as_const(weight).value().view();  // [out, in]
    using Row = Eigen::Array<Scalar, 1, Eigen::Dynamic>;
    Row largest = Row::Zero(w.cols);  // [in]
    for (Index i = 0; i < w.rows; ++i) {
      largest = largest.max(Eigen::Map<const Row>(w.row(i), w.cols).abs());
    }
    for (std::size_t j = 0; j < scale.size(); ++j) {
      const float ratio = std::sqrt(scale[j] / static_cast<float>(largest[static_cast<Index>(j)]));
      scale[j] = std::isfinite(ratio) && ratio > 0 ? ratio : 1.0f;
    }
  }
  weight.pack(threads, precision, scale.empty() ? nullptr : scale.data());
}

/// An affine map of the last axis, `[..., in]` to `[..., out]`. Mirrors torch.nn.Linear.
template <class Scalar>
class Linear {
 public:
  /// Draws the weight; the bias is 0.
  Linear(Index in, Index out, const Initializer& init = {})
      : weight_(init.normal<Scalar>({out, in})), bias_(init.constant<Scalar>({out}, 0)) {}

  /// Throws ShapeError unless the last size of `x` is `in`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          Activation activation = Activation::none) const {
    return eigenformer::linear(cx, x, weight_, bias_, activation);
  }

  /// The same for output columns `begin` to `end` alone: `[..., end - begin]`.
  [[nodiscard]] Tensor<Scalar> columns(Context& cx, const Tensor<Scalar>& x, RowRange range) const {
    return eigenformer::linear(cx, x, rows(cx, weight_(cx), range), rows(cx, bias_(cx), range));
  }

  [[nodiscard]] const Parameter<Scalar>& weight() const noexcept { return weight_; }  ///< [out, in]
  [[nodiscard]] const Parameter<Scalar>& bias() const noexcept { return bias_; }      ///< [out]
  /// The weight, to change it.
  [[nodiscard]] Parameter<Scalar>& weight() noexcept { return weight_; }
  /// The bias, to change it.
  [[nodiscard]] Parameter<Scalar>& bias() noexcept { return bias_; }

  /// Packs the weight for inference and gives its numbers up. `norm`, unless null, is the layer
  /// that the inputs come from.
  void pack(ThreadPool& threads, Precision precision, const LayerNorm<Scalar>* norm = nullptr) {
    pack_weight(threads, precision, weight_, norm);
    weight_.release();
  }
  /// The arithmetic that inference multiplies in.
  [[nodiscard]] Precision precision() const noexcept {
    return weight_.kept_pack() == nullptr ? Precision::full : weight_.kept_pack()->precision();
  }

  /// Visits `weight` and `bias`.
  static void visit(auto& self, auto&& f) {
    f("weight", self.weight_);
    f("bias", self.bias_);
  }

 private:
  Parameter<Scalar> weight_;
  Parameter<Scalar> bias_;
};

/// A linear layer whose weight is `[in, out]` in files; L is a Linear, const or not. Mirrors
/// transformers' Conv1D.
template <class L>
struct Conv1D {
  L& linear;  ///< the layer

  /// Visits `weight`, transposed, and `bias`.
  static void visit(auto& self, auto&& f) {
    f("weight", transposed(self.linear.weight()));
    f("bias", self.linear.bias());
  }
};

}  // namespace eigenformer
