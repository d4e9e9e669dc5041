// Matrix products: the one place where they happen. The work is cut into tiles by the sizes alone,
// so that results do not depend on the number of threads. Each tile is Eigen's product.
#pragma once

#include <algorithm>
#include <cstdint>

#include <Eigen/Core>

#include "eigenformer/kernels/activation.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Which operand of a product is stored transposed. The weights of a linear layer are
/// `[out, in]`, so its forward pass is `b_transposed`; its backward passes are the other two.
enum class Layout : std::uint8_t { plain, a_transposed, b_transposed };

/// c += a b on the calling thread, with a `[m, k]` and b `[k, n]` after transposition.
template <class Scalar>
[[gnu::noinline]] void gemm_tile(Layout layout, MatrixView<const Scalar> a,
                                 MatrixView<const Scalar> b, MatrixView<Scalar> c) {
  if (c.rows == 0 || c.cols == 0) return;
  using Plain = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto map = [](MatrixView<const Scalar> view) {
    return Eigen::Map<const Plain, Eigen::Unaligned, Eigen::OuterStride<>>(
        view.data, view.rows, view.cols, Eigen::OuterStride<>(view.stride));
  };
  Eigen::Map<Plain, Eigen::Unaligned, Eigen::OuterStride<>> out(c.data, c.rows, c.cols,
                                                                Eigen::OuterStride<>(c.stride));
  switch (layout) {
    case Layout::plain: out.noalias() += map(a) * map(b); break;
    case Layout::a_transposed: out.noalias() += map(a).transpose() * map(b); break;
    case Layout::b_transposed: out.noalias() += map(a) * map(b).transpose(); break;
  }
}

namespace detail {

/// At most 16 tiles, none below 64 columns: enough for any pool without splitting hairs.
[[nodiscard]] inline Index tile_width(Index columns) noexcept {
  return std::max<Index>(64, (columns + 15) / 16);
}

template <class Scalar>
void fill_rows(MatrixView<Scalar> c, const Scalar* row) noexcept {
  for (Index i = 0; i < c.rows; ++i) {
    if (row == nullptr)
      std::fill_n(c.row(i), c.cols, Scalar(0));
    else
      std::copy_n(row, c.cols, c.row(i));
  }
}

}  // namespace detail

/// c = a b, or c += a b with `accumulate`; all threads of the pool.
template <class Scalar>
void gemm(ThreadPool& pool, Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
          MatrixView<Scalar> c, bool accumulate = false) {
  parallel_for(pool, c.cols, detail::tile_width(c.cols), [&](Index begin, Index end) {
    const MatrixView<Scalar> tile = c.columns(begin, end - begin);
    if (!accumulate) detail::fill_rows<Scalar>(tile, nullptr);
    gemm_tile<Scalar>(layout, a,
                      layout == Layout::b_transposed ? b.middle_rows(begin, end - begin)
                                                     : b.columns(begin, end - begin),
                      tile);
  });
}

/// What a linear layer does with its product while it is in cache.
template <class Scalar>
struct Epilogue {
  const Scalar* bias = nullptr;  ///< `[out]`, or null
  Activation activation = Activation::none;
  MatrixView<Scalar> pre_activation = {};  ///< `[m, out]`: kept for the backward pass, or empty
};

/// y = activation(x w^T + bias) with x `[m, in]`, w `[out, in]`, y `[m, out]`.
template <class Scalar>
void linear(ThreadPool& pool, MatrixView<const Scalar> x, MatrixView<const Scalar> weight,
            const Epilogue<Scalar>& epilogue, MatrixView<Scalar> y) {
  parallel_for(pool, y.cols, detail::tile_width(y.cols), [&](Index begin, Index end) {
    const MatrixView<Scalar> tile = y.columns(begin, end - begin);
    detail::fill_rows<Scalar>(tile, epilogue.bias == nullptr ? nullptr : epilogue.bias + begin);
    gemm_tile<Scalar>(Layout::b_transposed, x, weight.middle_rows(begin, end - begin), tile);
    for (Index i = 0; i < tile.rows; ++i) {
      if (epilogue.pre_activation.data != nullptr) {
        std::copy_n(tile.row(i), tile.cols, epilogue.pre_activation.row(i) + begin);
      }
      activate(epilogue.activation, tile.row(i), tile.row(i), tile.cols);
    }
  });
}

/// sums[j] += sum over i of x[i, j].
template <class Scalar>
void add_column_sums(MatrixView<const Scalar> x, Scalar* sums) noexcept {
  for (Index i = 0; i < x.rows; ++i) {
    for (Index j = 0; j < x.cols; ++j) sums[j] += x.row(i)[j];
  }
}

}  // namespace eigenformer::kernels
