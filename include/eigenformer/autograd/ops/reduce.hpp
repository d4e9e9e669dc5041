// Reductions: sum, mean, segment_mean; and the row-wise maps softmax and l2_normalize.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/softmax.hpp"

namespace eigenformer {

/// The sum of all numbers, of rank 0.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> sum(Context& cx, const Tensor<Scalar>& x) {
  Tensor<Scalar> y = cx.empty<Scalar>({});
  y.fill(x.array().sum());
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place()](auto& pass, const Tensor<Scalar>& dy) {
      pass.add(x, Tensor<Scalar>::full(x.shape(), dy.item()));
    });
  }
  return y;
}

/// The mean of all numbers, of rank 0; throws ShapeError where there is none.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> mean(Context& cx, const Tensor<Scalar>& x) {
  check<ShapeError>(x.numel() > 0, "mean of a tensor of shape ", x.shape(),
                    ", which holds no numbers");
  return scale(cx, sum(cx, x), Scalar(1) / static_cast<Scalar>(x.numel()));
}

/// The mean over the rows of each segment of `x` `[tokens, n]`: `[segments, n]`; 0 for an empty
/// segment. `segments` are `[count + 1]` offsets. Throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> segment_mean(Context& cx, const Tensor<Scalar>& x,
                                          std::span<const Index> segments) {
  check<ShapeError>(x.rank() == 2 && !segments.empty() && segments.front() == 0 &&
                        segments.back() == x.size(0) &&
                        std::is_sorted(segments.begin(), segments.end()),
                    "segment_mean: offsets must rise from 0 to the rows of ", x.shape());
  const auto count = static_cast<Index>(segments.size()) - 1;
  Tensor<Scalar> y = cx.zeros<Scalar>({count, x.cols()});  // [segments, n]
  for (Index i = 0; i < count; ++i) {
    const Index begin = segments[static_cast<std::size_t>(i)];
    const Index end = segments[static_cast<std::size_t>(i) + 1];
    if (begin < end) y.matrix().row(i) = x.matrix().middleRows(begin, end - begin).colwise().mean();
  }
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y,
                 [x = x.place(), offsets = std::vector<Index>(segments.begin(), segments.end())](
                     auto& pass, const Tensor<Scalar>& dy) {
                   Tensor<Scalar>& dx = pass.accumulator(x);  // [tokens, n]
                   for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
                     const Index length = offsets[i + 1] - offsets[i];
                     if (length == 0) continue;
                     dx.matrix().middleRows(offsets[i], length).rowwise() +=
                         dy.matrix().row(static_cast<Index>(i)) / static_cast<Scalar>(length);
                   }
                 });
  }
  return y;
}

/// exp(x) / sum(exp(x)) over the last axis.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> softmax(Context& cx, const Tensor<Scalar>& x) {
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape());
  parallel_for(cx.threads(), x.row_count(), 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      kernels::softmax_row(x.view().row(i), y.view().row(i), x.cols());
    }
  });
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place(), kept = y.detach()](auto& pass, const Tensor<Scalar>& dy) {
      Tensor<Scalar> dx = pass.context().template empty<Scalar>(dy.shape());
      for (Index i = 0; i < dx.row_count(); ++i) {
        kernels::softmax_row_backward(kept.view().row(i), dy.view().row(i), dx.view().row(i),
                                      dx.cols());
      }
      pass.add(x, std::move(dx));
    });
  }
  return y;
}

/// x / max(|x|, eps) over the last axis, with the Euclidean norm. Mirrors
/// torch.nn.functional.normalize.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> l2_normalize(Context& cx, const Tensor<Scalar>& x,
                                          double eps = 1e-12) {
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape());
  const auto least = static_cast<Scalar>(eps);
  const auto norm_of = [least](const auto& row) { return std::max(Scalar(row.norm()), least); };
  for (Index i = 0; i < x.row_count(); ++i) {
    y.matrix().row(i) = x.matrix().row(i) / norm_of(x.matrix().row(i));
  }
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x, norm_of, least](auto& pass, const Tensor<Scalar>& dy) {
      Tensor<Scalar> dx = pass.context().template empty<Scalar>(dy.shape());
      for (Index i = 0; i < dx.row_count(); ++i) {
        const auto row = x.matrix().row(i);
        const Scalar norm = norm_of(row);
        // Below eps the denominator is a constant.
        const Scalar along = row.norm() > least ? row.dot(dy.matrix().row(i)) / (norm * norm) : 0;
        dx.matrix().row(i) = (dy.matrix().row(i) - along * row) / norm;
      }
      pass.add(x, std::move(dx));
    });
  }
  return y;
}

}  // namespace eigenformer
