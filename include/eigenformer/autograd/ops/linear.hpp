// linear: y = activation(x W^T + b).
//   dx = dz W,  dW = dz^T x,  db = sum of dz over rows,  with dz = activation'(z) dy.
#pragma once

#include "eigenformer/autograd/keep_rounded.hpp"
#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/gemm.hpp"

namespace eigenformer {

namespace detail {

/// What a linear layer keeps of its sums for the backward pass of its activation. Products in
/// bfloat16 read no more digits of what follows from it.
template <class Scalar>
struct BeforeActivation {
  Tensor<Scalar> numbers;         // [..., out], or undefined
  Tensor<kernels::Word> rounded;  // [rows, words], as ActivationInput has them, or undefined

  [[nodiscard]] kernels::ActivationInput<Scalar> input() const {
    if (rounded.defined()) return {{}, rounded.view()};
    return {numbers.view(), {}};
  }
};

}  // namespace detail

/// `x` `[..., in]`, `weight` `[out, in]`, `bias` `[out]` or undefined: `[..., out]`.
/// Throws ShapeError when inner sizes differ, ConfigError for products in a precision that the
/// scalar has not. Mirrors torch.nn.functional.linear.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> linear(Context& cx, const Tensor<Scalar>& x,
                                    const Tensor<Scalar>& weight, const Tensor<Scalar>& bias,
                                    Activation activation = Activation::none) {
  check<ShapeError>(weight.rank() == 2 && x.rank() >= 1 && x.cols() == weight.size(1),
                    "linear: input is ", x.shape(), " but weight is ", weight.shape(),
                    " ([out, in]); the last size of the input must be in");
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear: bias is ",
                    bias.shape(), " but weight is ", weight.shape(),
                    "; bias must have weight's first size");
  const Precision precision = cx.products;
  check<ConfigError>(precision == Precision::full ||
                         (precision == Precision::bf16 && std::is_same_v<Scalar, float>),
                     "linear: products in ", name_of(precision), " of numbers in ",
                     name_of(dtype_of<Scalar>),
                     "; unpacked weights multiply as they are, or float in bf16");
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape().with(-1, weight.size(0)));  // [..., out]
  Tape<Scalar>* tape = tracking<Scalar>(cx, x, weight, bias);
  const bool rounds = precision != Precision::full;
  kernels::Epilogue<Scalar> epilogue{bias.data(), activation};
  epilogue.approximate = rounds;
  detail::BeforeActivation<Scalar> z;
  if (tape != nullptr && activation != Activation::none) {
    if (rounds) {
      z.rounded = cx.empty<kernels::Word>({y.row_count(), kernels::rounded_words(y.cols())});
      epilogue.rounded = z.rounded.view();
    } else {
      z.numbers = cx.empty<Scalar>(y.shape());
      epilogue.pre_activation = z.numbers.view();
    }
  }
  kernels::linear<Scalar>(cx.threads(), x.view(), weight.view(), epilogue, y.view(), precision);
  if (tape != nullptr) {
    const auto kept = detail::keep_rounded(cx, *tape, x, precision);
    tape->record(cx, y, [=, x = x.place()](auto& pass, const Tensor<Scalar>& dy) {
      Context& bx = pass.context();
      Tensor<Scalar> dz = dy;  // [..., out]
      if (activation != Activation::none) {
        dz = bx.empty<Scalar>(dy.shape());
        kernels::activate_rows_backward<Scalar>(bx.threads(), activation, z.input(), dy.view(),
                                                dz.view());
      }
      if (pass.wants(x)) {
        const auto [dx, add] = pass.target(x);
        kernels::gemm<Scalar>(bx.threads(), kernels::Layout::plain, dz.view(), weight.view(), dx,
                              add, precision);
      }
      if (pass.wants(weight)) {
        const auto [dweight, add] = pass.target(weight);
        kernels::gemm<Scalar>(bx.threads(), kernels::Layout::a_transposed, dz.view(),
                              kept(bx).view(), dweight, add, precision);
      }
      if (pass.wants(bias)) {
        kernels::add_column_sums<Scalar>(bx.threads(), dz.view(), pass.accumulator(bias).data());
      }
    });
    if (activation != Activation::none) {
      tape->recompute_by(y, [z, activation, shape = y.shape()](Context& bx) {
        Tensor<Scalar> again = bx.empty<Scalar>(shape);  // [..., out]
        kernels::activate_rows<Scalar>(bx.threads(), activation, z.input(), again.view());
        return again;
      });
    }
  }
  return y;
}

/// The same with weights that were packed beforehand; throws NotDifferentiable when a tape tracks
/// an operand, since a pack has no gradient.
[[nodiscard]] inline Tensor<float> linear(Context& cx, const Tensor<float>& x,
                                          const kernels::PackedWeight& weight,
                                          const Tensor<float>& bias,
                                          Activation activation = Activation::none) {
  check<ShapeError>(x.rank() >= 1 && x.cols() == weight.in(), "linear: input is ", x.shape(),
                    " but weight is ", Shape{weight.out(), weight.in()},
                    " ([out, in]); the last size of the input must be in");
  check<ShapeError>(!bias.defined() || bias.shape() == Shape{weight.out()}, "linear: bias is ",
                    bias.shape(), " but weight is ", Shape{weight.out(), weight.in()},
                    "; bias must have weight's first size");
  check<NotDifferentiable>(tracking<float>(cx, x, bias) == nullptr,
                           "linear: packed weights have no gradient");
  Tensor<float> y = cx.empty<float>(x.shape().with(-1, weight.out()));  // [..., out]
  kernels::packed_linear(cx.threads(), weight, x.view(), {bias.data(), activation, {}}, y.view());
  return y;
}

}  // namespace eigenformer
