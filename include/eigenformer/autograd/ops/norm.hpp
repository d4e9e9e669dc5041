// layer_norm: y = (s - mean(s)) / sqrt(var(s) + eps) * gamma + beta with s = x + residual.
// The gradient for s, shared by x and the residual, is
//   ds = (g - mean(g) - n mean(g n)) / sqrt(var + eps),  g = dy gamma,  n = the normalised s.
#pragma once

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/norm.hpp"

namespace eigenformer {

/// Normalises the last axis of `x + residual` (`[..., n]`; residual may be undefined).
/// `gamma`, `beta` `[n]`. `into`, unless undefined, is where the result goes, which has no gradient
/// then. Mirrors torch.nn.LayerNorm. Throws ShapeError, NotDifferentiable.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> layer_norm(Context& cx, const Tensor<Scalar>& x,
                                        const Tensor<Scalar>& residual, const Tensor<Scalar>& gamma,
                                        const Tensor<Scalar>& beta, double eps,
                                        const Tensor<Scalar>& into = {}) {
  check<ShapeError>(
      x.rank() >= 1 && gamma.shape() == Shape{x.cols()} && beta.shape() == gamma.shape(),
      "layer_norm: input is ", x.shape(), " but weight is ", gamma.shape(), " and bias ",
      beta.shape(), "; both must have the input's last size");
  check<ShapeError>(!residual.defined() || residual.shape() == x.shape(), "layer_norm: input is ",
                    x.shape(), " but residual is ", residual.shape());
  Tape<Scalar>* tape = tracking<Scalar>(cx, x, residual, gamma, beta);
  check<NotDifferentiable>(tape == nullptr || !into.defined(),
                           "layer_norm: a result written over other numbers has no gradient");
  check<ShapeError>(!into.defined() || into.shape() == x.shape(), "layer_norm: input is ",
                    x.shape(), " but its result would go to ", into.shape());
  Tensor<Scalar> y = into.defined() ? into : cx.empty<Scalar>(x.shape());
  Tensor<Scalar> sum;                // [..., n]
  Tensor<Scalar> inverse_deviation;  // [rows]
  if (tape != nullptr) {
    sum = residual.defined() ? cx.empty<Scalar>(x.shape()) : x;
    inverse_deviation = cx.empty<Scalar>({x.row_count()});
  }
  const bool keep_sum = tape != nullptr && residual.defined();
  kernels::layer_norm_forward<Scalar>(
      cx.threads(), x.view(), residual.defined() ? residual.view() : MatrixView<const Scalar>{},
      gamma.data(), beta.data(), static_cast<Scalar>(eps), y.view(),
      keep_sum ? sum.view() : MatrixView<Scalar>{}, inverse_deviation.data());
  if (tape != nullptr) {
    tape->record(cx, y,
                 [x = x.place(), residual = residual.place(), gamma, beta = beta.place(), sum,
                  inverse_deviation](auto& pass, const Tensor<Scalar>& dy) {
                   Context& bx = pass.context();
                   Tensor<Scalar> ds;  // [..., n]
                   if (pass.wants(x) || pass.wants(residual)) ds = bx.empty<Scalar>(dy.shape());
                   kernels::layer_norm_backward<Scalar>(
                       bx.threads(), sum.view(), gamma.data(), inverse_deviation.data(), dy.view(),
                       ds.defined() ? ds.view() : MatrixView<Scalar>{},
                       pass.wants(gamma) ? pass.accumulator(gamma).data() : nullptr,
                       pass.wants(beta) ? pass.accumulator(beta).data() : nullptr);
                   pass.add(residual, ds);
                   pass.add(x, std::move(ds));
                 });
    tape->recompute_by(y, [sum, gamma, beta, eps](Context& bx) {
      Tensor<Scalar> again = bx.empty<Scalar>(sum.shape());  // [..., n]
      kernels::layer_norm_forward<Scalar>(bx.threads(), sum.view(), {}, gamma.data(), beta.data(),
                                          static_cast<Scalar>(eps), again.view(), {}, nullptr);
      return again;
    });
  }
  return y;
}

}  // namespace eigenformer
