// Matrix products: the one place where they happen. Products of floats go through packed operands
// and the tile kernel of the instruction set in use; every number is a sum over k in an order that
// k alone decides, so that results depend neither on the number of threads nor on the other rows.
// Other scalars are Eigen's products, cut into tiles by the sizes alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <Eigen/Core>

#include "eigenformer/kernels/activation.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/packing.hpp"
#include "eigenformer/threading/thread_pool.hpp"

/// Loops over plain memory: pointers, sizes and views in and out, no tensors.
namespace eigenformer::kernels {

/// Which operand of a product is stored transposed. The weights of a linear layer are
/// `[out, in]`, so its forward pass is `b_transposed`; its backward passes are the other two.
enum class Layout : std::uint8_t {
  plain,         ///< a `[m, k]`, b `[k, n]`
  a_transposed,  ///< a `[k, m]`, b `[k, n]`
  b_transposed,  ///< a `[m, k]`, b `[n, k]`
};

/// What a linear layer does with its product while it is in cache.
template <class Scalar>
struct Epilogue {
  const Scalar* bias = nullptr;              ///< `[out]`, or null
  Activation activation = Activation::none;  ///< what y = f(x W^T + bias) takes as f
  MatrixView<Scalar> pre_activation = {};    ///< `[m, out]`: kept for the backward pass, or empty
  MatrixView<Word> rounded = {};             ///< the same in bfloat16, as ActivationInput has it
  bool approximate = false;                  ///< y need not have more digits than bfloat16
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

/// Activation, and what the backward pass needs, for a finished tile that begins at (row, column).
template <class Scalar>
void finish_tile(const Epilogue<Scalar>& epilogue, const MatrixView<Scalar>& tile, Index row,
                 Index column) {
  const bool keeps = epilogue.pre_activation.data != nullptr || epilogue.rounded.data != nullptr;
  if (epilogue.activation == Activation::none && !keeps) return;
  for (Index i = 0; i < tile.rows; ++i) {
    if (epilogue.pre_activation.data != nullptr) {
      std::copy_n(tile.row(i), tile.cols, epilogue.pre_activation.row(row + i) + column);
    }
    if constexpr (std::is_same_v<Scalar, float>) {
      if (epilogue.rounded.data != nullptr) {
        active_kernels().bfloat16_row(tile.row(i), tile.cols,
                                      epilogue.rounded.row(row + i) + column / 2);
      }
    }
    if (epilogue.approximate)
      activate_approximately(epilogue.activation, tile.row(i), tile.row(i), tile.cols);
    else
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

/// The operands of a product of floats as the tile kernel sees them.
[[nodiscard]] inline Strided left_operand(Layout layout, MatrixView<const float> a) noexcept {
  if (layout == Layout::a_transposed) return {a.data, a.cols, a.rows, 1, a.stride};
  return {a.data, a.rows, a.cols, a.stride, 1};
}
[[nodiscard]] inline Strided right_operand(Layout layout, MatrixView<const float> b) noexcept {
  if (layout == Layout::b_transposed) return {b.data, b.rows, b.cols, b.stride, 1};
  return {b.data, b.cols, b.rows, 1, b.stride};
}

/// 48 columns of so many words are 192 KiB: a piece of a panel and the next one fill no more than
/// half of a level 2 cache.
inline constexpr Index longest_piece = 1024;
/// The same of floats. Each piece is summed up on its own, since the rounding error of a sum grows
/// with the root of its length.
inline constexpr Index longest_sum = 384;

/// How many steps are summed up at a time.
[[nodiscard]] inline Index piece_of(const Product& how, Index steps) noexcept {
  const Index longest = how.group == 4 ? steps : how.group == 1 ? longest_sum : longest_piece;
  return std::max<Index>(longest, 1);
}

/// c = left panel (+ bias), or c += left panel with `tile.accumulate`, for one panel of `width`
/// columns. `tile` says where everything begins; `next` is the panel that comes after, or null.
inline void multiply_panel(const Product& how, const Tile& tile, Index width, const Word* next,
                           const Epilogue<float>& epilogue, Index first_column) {
  const Index strips = divided_up(tile.rows, how.rows);
  const bool bytes = how.group == 4;  // whose sums are not kept in c
  const Index piece = piece_of(how, tile.k);
  Tile t = tile;
  t.left_step = how.rows * how.planes;
  t.right_step = width;
  for (Index begin = 0; begin == 0 || begin < tile.k; begin += piece) {
    t.k = std::min(piece, tile.k - begin);
    t.accumulate = tile.accumulate || begin > 0;
    // The first tiles of a piece bring the next one nearer, each a part of it.
    const Word* const following = begin + t.k < tile.k ? tile.right + (begin + t.k) * width : next;
    const Index helpers = std::clamp<Index>(strips, 1, column_unit);
    const Index help = following == nullptr ? 0 : width / helpers;
    for (Index strip = 0; strip < strips; ++strip) {
      const Index row = strip * how.rows;
      t.left = tile.left + (strip * rounded_up(tile.k, how.block) + begin) * t.left_step;
      t.rows = std::min(how.rows, tile.rows - row);
      if (bytes) {
        t.row_scale = tile.row_scale + row;
        t.row_offset = tile.row_offset + row;
      }
      t.next_step = strip < helpers ? help : 0;
      t.next = t.next_step > 0 ? following + strip * help * t.k : tile.right;
      for (Index column = 0; column < tile.columns; column += how.columns, t.next_step = 0) {
        t.columns = std::min(how.columns, tile.columns - column);
        t.right = tile.right + begin * width + column;
        t.c = tile.c + row * tile.stride + column;
        if (tile.bias != nullptr) t.bias = tile.bias + column;
        if (bytes) {
          t.column_scale = tile.column_scale + column;
          t.column_sum = tile.column_sum + column;
        }
        how.tile(t);
      }
      if (begin + t.k >= tile.k) {
        finish_tile(epilogue, {tile.c + row * tile.stride, t.rows, tile.columns, tile.stride}, row,
                    first_column);
      }
    }
  }
}

/// The same for a row alone and as many panels as it takes at once.
inline void multiply_row(const Product& how, const Tile& tile, Index width,
                         const Epilogue<float>& epilogue, Index first_column) {
  const Index piece = piece_of(how, tile.k);
  Tile t = tile;
  t.right_step = width;
  t.panel_step = width * tile.k;
  for (Index begin = 0; begin == 0 || begin < tile.k; begin += piece) {
    t.k = std::min(piece, tile.k - begin);
    t.left = tile.left + begin;
    t.right = tile.right + begin * width;
    t.accumulate = begin > 0;
    how.row(t);
  }
  finish_tile(epilogue, {tile.c, 1, tile.columns, tile.stride}, 0, first_column);
}

/// The epilogue of the rows from `row` on.
[[nodiscard]] inline Epilogue<float> epilogue_of_rows(Epilogue<float> epilogue,
                                                      Index row) noexcept {
  const auto skip = [row](auto& kept) {
    if (kept.data != nullptr) kept = kept.middle_rows(row, kept.rows - row);
  };
  skip(epilogue.pre_activation);
  skip(epilogue.rounded);
  return epilogue;
}

/// Words of a right operand that are packed before they are used: as much as a cache keeps.
inline constexpr Index words_at_once = Index{1} << 20;

/// c = left right + bias, or c += left right with `accumulate`, of floats or of their nearest
/// bfloat16. Without a pool, on the calling thread. The right operand is packed some panels at a
/// time, which meet the left one block by block: what is read again and again is a block of rows,
/// in the level 2 cache, and those panels.
inline void float_product(ThreadPool* pool, Precision precision, const Strided& left,
                          const Strided& right, MatrixView<float> c, bool accumulate,
                          const Epilogue<float>& epilogue) {
  const Product& how = active_kernels().product(precision);
  const PackedRows rows = pack_left(pool, how, left);
  const Index block = rounded_up(128, how.rows);
  const Index steps = divided_up(left.k, how.group);
  const Index panels = divided_up(c.cols, panel_columns);
  const Index tasks = pool == nullptr || pool->threads() == 1 ? 1 : 4 * pool->threads();
  on_ranges(pool, panels, divided_up(panels, tasks), [&](Index begin, Index end) {
    const Index panel_words = panel_columns * std::max<Index>(steps, 1);
    const Index at_once = std::clamp<Index>(words_at_once / panel_words, 1, end - begin);
    Word* const words = scratch<Word, Scratch::right>(at_once * panel_words);
    for (Index first = begin; first < end; first += at_once) {
      const Index last = std::min(first + at_once, end);
      right.pack_panels(how.group, first, last, words);
      for (Index row = 0; row < c.rows; row += block) {
        for (Index panel = first; panel < last; ++panel) {
          const Index column = panel * panel_columns;
          const Word* const mine = words + (panel - first) * panel_words;
          multiply_panel(how,
                         {.k = steps,
                          .left = rows.words + row / how.rows * strip_size(how, steps),
                          .right = mine,
                          .c = c.row(row) + column,
                          .stride = c.stride,
                          .rows = std::min(block, c.rows - row),
                          .columns = std::min(panel_columns, c.cols - column),
                          .accumulate = accumulate,
                          .bias = epilogue.bias == nullptr ? nullptr : epilogue.bias + column},
                         right.panel_width(column), panel + 1 < last ? mine + panel_words : nullptr,
                         epilogue_of_rows(epilogue, row), column);
        }
      }
    }
  });
}

}  // namespace detail

/// c = a b, or c += a b with `accumulate`, on the calling thread; a is `[m, k]` and b `[k, n]`
/// after transposition.
template <class Scalar>
void gemm_tile(Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
               MatrixView<Scalar> c, bool accumulate = false) {
  if constexpr (std::is_same_v<Scalar, float>) {
    detail::float_product(nullptr, Precision::full, detail::left_operand(layout, a),
                          detail::right_operand(layout, b), c, accumulate, {});
  } else {
    if (!accumulate) detail::fill_rows<Scalar>(c, nullptr);
    detail::eigen_product<Scalar>(layout, a, b, c);
  }
}

/// c = a b, or c += a b with `accumulate`; all threads of the pool. Products of floats may round
/// their operands to bfloat16.
template <class Scalar>
void gemm(ThreadPool& pool, Layout layout, MatrixView<const Scalar> a, MatrixView<const Scalar> b,
          MatrixView<Scalar> c, bool accumulate = false, Precision precision = Precision::full) {
  if constexpr (std::is_same_v<Scalar, float>) {
    detail::float_product(&pool, precision, detail::left_operand(layout, a),
                          detail::right_operand(layout, b), c, accumulate, {});
  } else {
    parallel_for(pool, c.cols, detail::tile_width(c.cols), [&](Index begin, Index end) {
      const MatrixView<Scalar> tile = c.columns(begin, end - begin);
      gemm_tile<Scalar>(layout, a,
                        layout == Layout::b_transposed ? b.middle_rows(begin, end - begin)
                                                       : b.columns(begin, end - begin),
                        tile, accumulate);
    });
  }
}

/// y = activation(x w^T + bias) with x `[m, in]`, w `[out, in]`, y `[m, out]`; of floats, x and w
/// may be rounded to bfloat16.
template <class Scalar>
void linear(ThreadPool& pool, MatrixView<const Scalar> x, MatrixView<const Scalar> weight,
            const Epilogue<Scalar>& epilogue, MatrixView<Scalar> y,
            Precision precision = Precision::full) {
  if constexpr (std::is_same_v<Scalar, float>) {
    const Layout layout = Layout::b_transposed;
    detail::float_product(&pool, precision, detail::left_operand(layout, x),
                          detail::right_operand(layout, weight), y, false, epilogue);
  } else {
    parallel_for(pool, y.cols, detail::tile_width(y.cols), [&](Index begin, Index end) {
      const MatrixView<Scalar> tile = y.columns(begin, end - begin);
      detail::fill_rows<Scalar>(tile, epilogue.bias == nullptr ? nullptr : epilogue.bias + begin);
      gemm_tile<Scalar>(Layout::b_transposed, x, weight.middle_rows(begin, end - begin), tile,
                        /*accumulate=*/true);
      detail::finish_tile(epilogue, tile, 0, begin);
    });
  }
}

/// The same with weights that were packed beforehand, in their arithmetic.
inline void packed_linear(ThreadPool& pool, const PackedWeight& weight, MatrixView<const float> x,
                          Epilogue<float> epilogue, MatrixView<float> y) {
  epilogue.approximate = weight.precision() != Precision::full;
  const Product& how = active_kernels().product(weight.precision());
  const bool alone = y.rows == 1 && how.row != nullptr;
  const detail::PackedRows rows =
      alone ? detail::pack_row(weight, x.data) : detail::pack_left(&pool, weight, x);
  const Index panels = weight.panels();
  const Index grain = alone ? std::clamp<Index>(panels / pool.threads(), 1, how.row_panels)
                            : detail::divided_up(panels, 16);
  const bool bytes = weight.precision() == Precision::int8;
  parallel_for(pool, panels, grain, [&](Index begin, Index end) {
    const auto tile_at = [&](Index panel, Index count) {
      const Index column = panel * detail::panel_columns;
      return Tile{.k = weight.steps(),
                  .left = rows.words,
                  .right = weight.words() + column * weight.steps(),
                  .c = y.data + column,
                  .stride = y.stride,
                  .rows = y.rows,
                  .columns = std::min(count * detail::panel_columns, y.cols - column),
                  .bias = epilogue.bias == nullptr ? nullptr : epilogue.bias + column,
                  .row_scale = rows.scale,
                  .row_offset = rows.offset,
                  .column_scale = bytes ? weight.column_scale() + column : nullptr,
                  .column_sum = bytes ? weight.column_sum() + column : nullptr};
    };
    for (Index panel = begin, count = 1; panel < end; panel += count) {
      const Index width = weight.width(panel);
      const Index column = panel * detail::panel_columns;
      if (alone) {
        const bool narrow_last = weight.width(end - 1) < width;
        count = std::min(how.row_panels, end - panel - (narrow_last ? 1 : 0));
        detail::multiply_row(how, tile_at(panel, count), width, epilogue, column);
      } else {
        const Tile tile = tile_at(panel, 1);
        const Word* const next = tile.right + width * weight.steps();
        detail::multiply_panel(how, tile, width, panel + 1 < panels ? next : nullptr, epilogue,
                               column);
      }
    }
  });
}

/// sums[j] += sum over i of x[i, j].
template <class Scalar>
void add_column_sums(ThreadPool& pool, MatrixView<const Scalar> x, Scalar* sums) {
  using Row = Eigen::Array<Scalar, 1, Eigen::Dynamic>;
  parallel_for(pool, x.cols, 512, [&](Index begin, Index end) {
    Eigen::Map<Row> sum(sums + begin, end - begin);
    for (Index i = 0; i < x.rows; ++i) {
      sum += Eigen::Map<const Row>(x.row(i) + begin, end - begin);
    }
  });
}

}  // namespace eigenformer::kernels
