// Matrix products: the one place where they happen. Products of floats go through packed operands
// and the tile kernel of the instruction set in use; every number is one sum over k in order, so
// that results depend neither on the number of threads nor on the other rows. Other scalars are
// Eigen's products, cut into tiles by the sizes alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <Eigen/Core>

#include "eigenformer/kernels/activation.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/packing.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Which operand of a product is stored transposed. The weights of a linear layer are
/// `[out, in]`, so its forward pass is `b_transposed`; its backward passes are the other two.
enum class Layout : std::uint8_t { plain, a_transposed, b_transposed };

/// What a linear layer does with its product while it is in cache.
template <class Scalar>
struct Epilogue {
  const Scalar* bias = nullptr;  ///< `[out]`, or null
  Activation activation = Activation::none;
  MatrixView<Scalar> pre_activation = {};  ///< `[m, out]`: kept for the backward pass, or empty
  const PackedWeight<Scalar>* packed = nullptr;  ///< the weights, packed beforehand
};

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

/// Activation, and what the backward pass needs, for a finished tile that begins at `column`.
template <class Scalar>
void finish_tile(const Epilogue<Scalar>& epilogue, MatrixView<Scalar> tile, Index column) {
  if (epilogue.activation == Activation::none && epilogue.pre_activation.data == nullptr) return;
  for (Index i = 0; i < tile.rows; ++i) {
    if (epilogue.pre_activation.data != nullptr) {
      std::copy_n(tile.row(i), tile.cols, epilogue.pre_activation.row(i) + column);
    }
    activate(epilogue.activation, tile.row(i), tile.row(i), tile.cols);
  }
}

/// c += a b by Eigen.
template <class Scalar>
[[gnu::noinline]] void eigen_product(Layout layout, MatrixView<const Scalar> a,
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

/// The operands of a product as the tile kernel sees them.
[[nodiscard]] inline Strided left_operand(Layout layout, MatrixView<const float> a) noexcept {
  if (layout == Layout::a_transposed) return {a.data, a.cols, a.rows, 1, a.stride};
  return {a.data, a.rows, a.cols, a.stride, 1};
}
[[nodiscard]] inline Strided right_operand(Layout layout, MatrixView<const float> b) noexcept {
  if (layout == Layout::b_transposed) return {b.data, b.rows, b.cols, b.stride, 1};
  return {b.data, b.cols, b.rows, 1, b.stride};
}

/// c = left right + bias, or c += left right with `accumulate`, by the tile kernel. `panels` are
/// the right operand packed beforehand, or null. Without a pool, on the calling thread.
inline void float_product(ThreadPool* pool, const Strided& left, const Strided& right,
                          const float* panels, MatrixView<float> c, bool accumulate,
                          const Epilogue<float>& epilogue) {
  const FloatKernels& kernels = float_kernels();
  const Index height = kernels.tile_rows;
  const Index width = kernels.tile_columns;
  const Index k = left.k;
  const Index blocks = divided_up(c.rows, height);
  const Index panel_count = divided_up(c.cols, width);
  const auto ranges = [pool](Index n, Index grain, auto&& f) {
    if (pool == nullptr)
      f(Index{0}, n);
    else
      parallel_for(*pool, n, grain, f);
  };
  float* const left_blocks = scratch<float, Scratch::left>(packed_size(left, height));
  ranges(blocks, 8,
         [&](Index begin, Index end) { pack_strips(left, height, begin, end, left_blocks); });
  // While the first tiles of a panel are computed, each brings a part of the next panel nearer.
  const Index helpers = std::clamp<Index>(blocks, 1, std::max<Index>(1, width / 16));
  const Index help = width / helpers;  // floats for each k
  ranges(panel_count, divided_up(panel_count, 16), [&](Index begin, Index end) {
    for (Index panel = begin; panel < end; ++panel) {
      const Index column = panel * width;
      const float* packed = panels == nullptr ? nullptr : panels + column * k;
      const float* next = packed;
      if (packed == nullptr) {
        float* const own = scratch<float, Scratch::right>(width * k);
        pack_strip(right, column, width, own);
        packed = next = own;
      } else if (panel + 1 < panel_count) {
        next += width * k;
      }
      const Index columns = std::min(width, c.cols - column);
      for (Index block = 0; block < blocks; ++block) {
        const Index row = block * height;
        const bool helps = block < helpers;
        kernels.gemm_tile(k, left_blocks + row * k, packed, c.row(row) + column, c.stride,
                          std::min(height, c.rows - row), columns,
                          epilogue.bias == nullptr ? nullptr : epilogue.bias + column, accumulate,
                          helps ? next + block * help * k : packed, helps ? help : 0);
      }
      finish_tile(epilogue, c.columns(column, columns), column);
    }
  });
}

/// A right operand that several products on the calling thread share.
template <class Scalar, Scratch use>
class RightOperand {
 public:
  RightOperand(Layout layout, MatrixView<const Scalar> b) : layout_(layout), b_(b) {
    if constexpr (std::is_same_v<Scalar, float>) {
      const Strided right = right_operand(layout, b);
      const Index width = float_kernels().tile_columns;
      panels_ = scratch<float, use>(packed_size(right, width));
      pack_strips(right, width, 0, divided_up(right.count, width), panels_);
    }
  }

  /// c = a b
  void multiply(MatrixView<const Scalar> a, MatrixView<Scalar> c) const {
    if constexpr (std::is_same_v<Scalar, float>) {
      float_product(nullptr, left_operand(layout_, a), right_operand(layout_, b_), panels_, c,
                    false, {});
    } else {
      fill_rows<Scalar>(c, nullptr);
      eigen_product<Scalar>(layout_, a, b_, c);
    }
  }

 private:
  Layout layout_;
  MatrixView<const Scalar> b_;
  Scalar* panels_ = nullptr;  // float alone
};

}  // namespace detail

/// c += a b on the calling thread, with a `[m, k]` and b `[k, n]` after transposition.
template <class Scalar>
void gemm_tile(Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
               MatrixView<Scalar> c) {
  if constexpr (std::is_same_v<Scalar, float>) {
    detail::float_product(nullptr, detail::left_operand(layout, a),
                          detail::right_operand(layout, b), nullptr, c, true, {});
  } else {
    detail::eigen_product<Scalar>(layout, a, b, c);
  }
}

/// c = a b, or c += a b with `accumulate`; all threads of the pool.
template <class Scalar>
void gemm(ThreadPool& pool, Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
          MatrixView<Scalar> c, bool accumulate = false) {
  if constexpr (std::is_same_v<Scalar, float>) {
    detail::float_product(&pool, detail::left_operand(layout, a), detail::right_operand(layout, b),
                          nullptr, c, accumulate, {});
  } else {
    parallel_for(pool, c.cols, detail::tile_width(c.cols), [&](Index begin, Index end) {
      const MatrixView<Scalar> tile = c.columns(begin, end - begin);
      if (!accumulate) detail::fill_rows<Scalar>(tile, nullptr);
      gemm_tile<Scalar>(layout, a,
                        layout == Layout::b_transposed ? b.middle_rows(begin, end - begin)
                                                       : b.columns(begin, end - begin),
                        tile);
    });
  }
}

/// y = activation(x w^T + bias) with x `[m, in]`, w `[out, in]`, y `[m, out]`.
template <class Scalar>
void linear(ThreadPool& pool, MatrixView<const Scalar> x, MatrixView<const Scalar> weight,
            const Epilogue<Scalar>& epilogue, MatrixView<Scalar> y) {
  if constexpr (std::is_same_v<Scalar, float>) {
    const Layout layout = Layout::b_transposed;
    detail::float_product(
        &pool, detail::left_operand(layout, x), detail::right_operand(layout, weight),
        epilogue.packed == nullptr ? nullptr : epilogue.packed->panels(), y, false, epilogue);
  } else {
    parallel_for(pool, y.cols, detail::tile_width(y.cols), [&](Index begin, Index end) {
      const MatrixView<Scalar> tile = y.columns(begin, end - begin);
      detail::fill_rows<Scalar>(tile, epilogue.bias == nullptr ? nullptr : epilogue.bias + begin);
      gemm_tile<Scalar>(Layout::b_transposed, x, weight.middle_rows(begin, end - begin), tile);
      detail::finish_tile(epilogue, tile, begin);
    });
  }
}

/// sums[j] += sum over i of x[i, j].
template <class Scalar>
void add_column_sums(MatrixView<const Scalar> x, Scalar* sums) noexcept {
  for (Index i = 0; i < x.rows; ++i) {
    for (Index j = 0; j < x.cols; ++j) sums[j] += x.row(i)[j];
  }
}

}  // namespace eigenformer::kernels
