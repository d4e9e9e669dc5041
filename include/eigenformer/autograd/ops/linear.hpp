// linear: y = activation(x W^T + b).
//   dx = dz W,  dW = dz^T x,  db = sum of dz over rows,  with dz = activation'(z) dy.
#pragma once

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/gemm.hpp"

namespace eigenformer {

/// `x` `[..., in]`, `weight` `[out, in]`, `bias` `[out]` or undefined: `[..., out]`.
/// `packed`, if not null, is `weight` packed beforehand. Throws ShapeError when inner sizes differ.
/// Mirrors torch.nn.functional.linear.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> linear(Context& cx, const Tensor<Scalar>& x,
                                    const Tensor<Scalar>& weight, const Tensor<Scalar>& bias,
                                    Activation activation = Activation::none,
                                    const kernels::PackedWeight<Scalar>* packed = nullptr) {
  check<ShapeError>(weight.rank() == 2 && x.rank() >= 1 && x.cols() == weight.size(1),
                    "linear: input is ", x.shape(), " but weight is ", weight.shape(),
                    " ([out, in]); the last size of the input must be in");
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear: bias is ",
                    bias.shape(), " but weight is ", weight.shape(),
                    "; bias must have weight's first size");
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape().with(-1, weight.size(0)));  // [..., out]
  Tape<Scalar>* tape = tracking<Scalar>(cx, x, weight, bias);
  Tensor<Scalar> z;  // [..., out], before the activation
  if (tape != nullptr && activation != Activation::none) z = cx.empty<Scalar>(y.shape());
  kernels::linear<Scalar>(
      cx.threads(), x.view(), weight.view(),
      {bias.data(), activation, z.defined() ? z.view() : MatrixView<Scalar>{}, packed}, y.view());
  if (tape != nullptr) {
    tape->record(cx, y, [x, weight, bias, z, activation](auto& pass, const Tensor<Scalar>& dy) {
      Context& bx = pass.context();
      Tensor<Scalar> dz = dy;  // [..., out]
      if (z.defined()) {
        dz = bx.empty<Scalar>(dy.shape());
        for (Index i = 0; i < dy.row_count(); ++i) {  // dy may be a view with gaps
          kernels::activate_backward(activation, z.view().row(i), dy.view().row(i),
                                     dz.view().row(i), dy.cols());
        }
      }
      if (pass.wants(x)) {
        kernels::gemm<Scalar>(bx.threads(), kernels::Layout::plain, dz.view(), weight.view(),
                              pass.accumulator(x).view(), true);
      }
      if (pass.wants(weight)) {
        kernels::gemm<Scalar>(bx.threads(), kernels::Layout::a_transposed, dz.view(), x.view(),
                              pass.accumulator(weight).view(), true);
      }
      if (pass.wants(bias)) {
        kernels::add_column_sums<Scalar>(dz.view(), pass.accumulator(bias).data());
      }
    });
  }
  return y;
}

}  // namespace eigenformer
