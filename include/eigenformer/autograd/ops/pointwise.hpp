// Element-wise operations that models need beside Eigen's own: add, scale, activation, dropout.
#pragma once

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/activation.hpp"

namespace eigenformer {

/// a + b for two tensors of one shape; throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> add(Context& cx, const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  check<ShapeError>(a.shape() == b.shape(), "add: the shapes ", a.shape(), " and ", b.shape(),
                    " differ");
  Tensor<Scalar> sum = cx.empty<Scalar>(a.shape());
  sum.array() = a.array() + b.array();
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, a, b)) {
    tape->record(cx, sum, [a = a.place(), b = b.place()](auto& pass, const Tensor<Scalar>& dsum) {
      pass.add(a, dsum);
      pass.add(b, dsum);
    });
  }
  return sum;
}

/// x times a constant.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> scale(Context& cx, const Tensor<Scalar>& x, Scalar factor) {
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape());
  y.array() = x.array() * factor;
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place(), factor](auto& pass, const Tensor<Scalar>& dy) {
      Tensor<Scalar> dx = pass.context().template empty<Scalar>(dy.shape());
      dx.array() = dy.array() * factor;
      pass.add(x, std::move(dx));
    });
  }
  return y;
}

/// activation(x), element by element.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> activate(Context& cx, const Tensor<Scalar>& x, Activation activation) {
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape());
  kernels::activate_rows<Scalar>(cx.threads(), activation, {x.view()}, y.view());
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x, activation](auto& pass, const Tensor<Scalar>& dy) {
      Tensor<Scalar> dx = pass.context().template empty<Scalar>(dy.shape());
      kernels::activate_rows_backward<Scalar>(pass.context().threads(), activation, {x.view()},
                                              dy.view(), dx.view());
      pass.add(x, std::move(dx));
    });
  }
  return y;
}

/// x with each number dropped with the given probability and the rest scaled up; x itself when the
/// context has no generator. Throws Error for a probability outside [0, 1).
template <class Scalar>
[[nodiscard]] Tensor<Scalar> dropout(Context& cx, const Tensor<Scalar>& x, double probability) {
  check(probability >= 0 && probability < 1, "dropout: probability ", probability,
        " is outside [0, 1)");
  if (cx.dropout == nullptr || probability == 0) return x;
  const kernels::DropoutPattern pattern = cx.dropout->next(probability);
  const auto apply = [pattern](Context& context, const Tensor<Scalar>& in) {
    Tensor<Scalar> out = context.template empty<Scalar>(in.shape());
    parallel_for(context.threads(), in.row_count(), 16, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        pattern.apply(in.view().row(i), out.view().row(i), in.cols(), i * in.cols());
      }
    });
    return out;
  };
  Tensor<Scalar> y = apply(cx, x);
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place(), apply](auto& pass, const Tensor<Scalar>& dy) {
      pass.add(x, apply(pass.context(), dy));
    });
  }
  return y;
}

}  // namespace eigenformer
