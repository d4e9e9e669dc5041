// Operations that only move numbers: reshape, slice, rows, gather_rows, concat.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "eigenformer/autograd/tape.hpp"

namespace eigenformer {

/// The same numbers under another shape, with a gradient: a view, or a copy where `x` has gaps.
/// Mirrors torch.reshape.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> reshape(Context& cx, const Tensor<Scalar>& x, const Shape& shape) {
  Tensor<Scalar> whole = x.detach();
  if (!x.contiguous()) {
    whole = cx.empty<Scalar>(x.shape());
    whole.copy_from(x);
  }
  Tensor<Scalar> y = whole.reshape(shape);
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place()](auto& pass, const Tensor<Scalar>& dy) {
      pass.add(x, (dy.contiguous() ? dy : dy.clone()).reshape(x.shape()));
    });
  }
  return y;
}

/// A view of positions `begin` to `end` (excluded) along `axis`, as Tensor::slice, with a gradient.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> slice(Context& cx, const Tensor<Scalar>& x, int axis, Index begin,
                                   Index end) {
  Tensor<Scalar> y = x.detach().slice(axis, begin, end);
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y, [x = x.place(), axis, begin, end](auto& pass, const Tensor<Scalar>& dy) {
      Tensor<Scalar> dx = pass.accumulator(x).slice(axis, begin, end);
      dx.array() += dy.array();
    });
  }
  return y;
}

/// A view of rows along the first axis, with a gradient.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> rows(Context& cx, const Tensor<Scalar>& x, RowRange range) {
  return slice(cx, x, 0, range.begin, range.end);
}

/// The rows of `x` `[n, ...]` at the given positions, in that order, repeats allowed: `[m, ...]`.
/// Throws ShapeError for a position outside x.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> gather_rows(Context& cx, const Tensor<Scalar>& x,
                                         std::span<const Index> positions) {
  check<ShapeError>(x.rank() >= 1, "gather_rows: a tensor of rank 0 has no rows");
  Tensor<Scalar> y = cx.empty<Scalar>(x.shape().with(0, static_cast<Index>(positions.size())));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    check<ShapeError>(positions[i] >= 0 && positions[i] < x.size(0), "gather_rows: row ",
                      positions[i], " is outside ", x.shape());
    const auto row = static_cast<Index>(i);
    y.rows(row, row + 1).copy_from(x.rows(positions[i], positions[i] + 1));
  }
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(cx, y,
                 [x = x.place(), kept = std::vector<Index>(positions.begin(), positions.end())](
                     auto& pass, const Tensor<Scalar>& dy) {
                   Tensor<Scalar>& dx = pass.accumulator(x);
                   for (std::size_t i = 0; i < kept.size(); ++i) {
                     const auto row = static_cast<Index>(i);
                     dx.rows(kept[i], kept[i] + 1).array() += dy.rows(row, row + 1).array();
                   }
                 });
  }
  return y;
}

/// The parts one after the other along `axis`; their other sizes are equal. Throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> concat_tensors(Context& cx, int axis,
                                            std::span<const Tensor<Scalar>> parts) {
  check<ShapeError>(!parts.empty(), "concat_tensors: no parts");
  axis = parts[0].shape().normalize_axis(axis);
  Index total = 0;
  bool tracked = false;
  Tape<Scalar>* tape = tape_of<Scalar>(cx);
  for (const Tensor<Scalar>& part : parts) {
    check<ShapeError>(part.rank() == parts[0].rank() &&
                          part.shape().with(axis, 0) == parts[0].shape().with(axis, 0),
                      "concat_tensors: ", parts[0].shape(), " and ", part.shape(),
                      " differ in another axis than ", axis);
    total += part.size(axis);
    tracked |= tape != nullptr && tape->tracks(part);
  }
  Tensor<Scalar> whole = cx.empty<Scalar>(parts[0].shape().with(axis, total));
  Index begin = 0;
  for (const Tensor<Scalar>& part : parts) {
    whole.slice(axis, begin, begin + part.size(axis)).copy_from(part);
    begin += part.size(axis);
  }
  if (tracked) {
    tape->record(cx, whole,
                 [axis, kept = std::vector<Tensor<Scalar>>(parts.begin(), parts.end())](
                     auto& pass, const Tensor<Scalar>& dwhole) {
                   Index at = 0;
                   for (const Tensor<Scalar>& part : kept) {
                     pass.add(part, dwhole.slice(axis, at, at + part.size(axis)));
                     at += part.size(axis);
                   }
                 });
  }
  return whole;
}

/// The padded form of packed rows `x` `[tokens, ...]`: `[segments, longest, ...]`, with zeros after
/// each segment's end. `segments` are `[count + 1]` offsets. Throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> to_padded(Context& cx, const Tensor<Scalar>& x,
                                       std::span<const Index> segments) {
  check<ShapeError>(x.rank() >= 1 && !segments.empty() && segments.front() == 0 &&
                        segments.back() == x.size(0) &&
                        std::is_sorted(segments.begin(), segments.end()),
                    "to_padded: offsets must rise from 0 to the rows of ", x.shape());
  const auto count = static_cast<Index>(segments.size()) - 1;
  Index longest = 0;
  for (std::size_t i = 1; i < segments.size(); ++i) {
    longest = std::max(longest, segments[i] - segments[i - 1]);
  }
  Shape shape{count, longest};
  for (int axis = 1; axis < x.rank(); ++axis) shape.append(x.size(axis));
  Tensor<Scalar> y = cx.zeros<Scalar>(shape);  // [segments, longest, ...]
  const auto part = [](const Tensor<Scalar>& padded, Index i, Index length) {
    Shape merged = padded.shape().with(1, padded.size(0) * padded.size(1));
    return padded.reshape(merged.with(0, 1))
        .slice(1, i * padded.size(1), i * padded.size(1) + length);  // [1, length, ...]
  };
  const auto as_part = [](const Tensor<Scalar>& rows_of_x) {
    Shape leading{1};
    for (const Index size : rows_of_x.shape()) leading.append(size);
    return rows_of_x.reshape(leading);
  };
  for (Index i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    part(y, i, segments[at + 1] - segments[at])
        .copy_from(as_part(x.detach().rows(segments[at], segments[at + 1])));
  }
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, x)) {
    tape->record(
        cx, y,
        [x = x.place(), part, as_part, kept = std::vector<Index>(segments.begin(), segments.end())](
            auto& pass, const Tensor<Scalar>& dy) {
          Tensor<Scalar>& dx = pass.accumulator(x);
          for (std::size_t i = 0; i + 1 < kept.size(); ++i) {
            as_part(dx.rows(kept[i], kept[i + 1])).array() +=
                part(dy, static_cast<Index>(i), kept[i + 1] - kept[i]).array();
          }
        });
  }
  return y;
}

}  // namespace eigenformer
