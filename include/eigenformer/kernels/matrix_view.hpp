// MatrixView: rows of contiguous numbers, `stride` elements apart; what kernels read and write.
#pragma once

#include <type_traits>

#include "eigenformer/base/shape.hpp"

namespace eigenformer {

/// A borrowed row-major matrix `[rows, cols]`.
template <class Scalar>
struct MatrixView {
  Scalar* data = nullptr;  ///< the first number of the first row
  Index rows = 0;          ///< how many rows there are
  Index cols = 0;          ///< numbers in a row
  Index stride = 0;        ///< elements from one row to the next

  /// The first number of row `i`.
  [[nodiscard]] Scalar* row(Index i) const noexcept { return data + i * stride; }

  /// Columns `begin` to `begin + count`.
  [[nodiscard]] MatrixView columns(Index begin, Index count) const noexcept {
    return {data + begin, rows, count, stride};
  }
  /// Rows `begin` to `begin + count`.
  [[nodiscard]] MatrixView middle_rows(Index begin, Index count) const noexcept {
    return {data + begin * stride, count, cols, stride};
  }

  /// A writable view is a readable one.
  // NOLINTNEXTLINE(google-explicit-constructor)
  operator MatrixView<const Scalar>() const noexcept requires(!std::is_const_v<Scalar>) {
    return {data, rows, cols, stride};
  }
};

}  // namespace eigenformer
