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
#include "eigenformer/kernels/rounding.hpp"
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

/// Steps that are summed up at a time: pieces of the operands that stay in a level 2 cache.
inline constexpr Index longest_piece = 768;
/// The same of floats. Each piece is summed up on its own, since the rounding error of a sum grows
/// with the root of its length.
inline constexpr Index longest_sum = 384;
/// Words of a right operand's piece that many rows meet one after the other.
inline constexpr Index words_at_once = Index{1} << 17;
/// Rows of a left operand that meet them.
inline constexpr Index rows_at_once = 128;
/// Words of a left operand that are packed at a time: a larger one takes no more memory.
inline constexpr Index left_words_at_once = Index{1} << 21;
/// Rows of it that are packed at a time at least, since the right operand is packed anew for each
/// part.
inline constexpr Index fewest_left_rows = 1024;

/// How many steps are summed up at a time.
[[nodiscard]] inline Index piece_of(const Product& how, Index steps) noexcept {
  const Index longest = how.group == 4 ? steps : how.group == 1 ? longest_sum : longest_piece;
  return std::max<Index>(std::min(longest, steps), 1);
}

/// Calls f(begin, n) for each piece of a sum over `steps`, at least once.
template <class Function>
void for_each_piece(const Product& how, Index steps, Function&& f) {
  const Index piece = piece_of(how, steps);
  for (Index begin = 0; begin == 0 || begin < steps; begin += piece) {
    f(begin, std::min(piece, steps - begin));
  }
}

/// What is left of a tile from a row and a column of its results on; operands stay as they are.
[[nodiscard]] inline Tile tile_from(const Tile& tile, Index row, Index column) noexcept {
  Tile t = tile;
  t.c += row * t.stride + column;
  t.rows -= row;
  t.columns -= column;
  if (t.bias != nullptr) t.bias += column;
  if (t.column_scale != nullptr) {  // bytes
    t.row_scale += row;
    t.row_offset += row;
    t.column_scale += column;
    t.column_sum += column;
  }
  return t;
}

/// One piece of a product with one panel of `width` columns. `tile` says where everything begins;
/// the left operand's strips are `strip` words apart; `next` is what is read afterwards, or null.
/// finish(row, n) is called for rows of c that are done.
template <class Function>
void multiply_piece(const Product& how, const Tile& tile, Index strip, Index width,
                    const Word* next, Function&& finish) {
  const Index strips = divided_up(tile.rows, how.rows);
  // The first tiles bring what is next nearer, each a part of it.
  const Index helpers = std::clamp<Index>(strips, 1, column_unit);
  const Index help = next == nullptr ? 0 : width / helpers;
  for (Index i = 0; i < strips; ++i) {
    const Index rows = std::min(how.rows, tile.rows - i * how.rows);
    for (Index column = 0; column < tile.columns; column += how.columns) {
      Tile t = tile_from(tile, i * how.rows, column);
      t.rows = rows;
      t.columns = std::min(how.columns, t.columns);
      t.left += i * strip;
      t.left_step = how.rows * how.planes;
      t.right += column;
      t.right_step = width;
      t.next_step = i < helpers && column == 0 ? help : 0;
      t.next = t.next_step > 0 ? next + i * help * t.k : t.right;
      how.tile(t);
    }
    finish(i * how.rows, rows);
  }
}

/// c = left panel (+ bias), for all of a panel of `width` columns.
inline void multiply_panel(const Product& how, const Tile& tile, Index width) {
  for_each_piece(how, tile.k, [&](Index begin, Index n) {
    Tile t = tile;
    t.k = n;
    t.left += begin * how.rows * how.planes;
    t.right += begin * width;
    t.accumulate = begin > 0;
    multiply_piece(how, t, strip_size(how, tile.k), width, nullptr, [](Index, Index) {});
  });
}

/// The same for a row alone and as many panels as it takes at once.
inline void multiply_row(const Product& how, const Tile& tile, Index width) {
  Tile t = tile;
  t.right_step = width;
  t.panel_step = width * tile.k;
  for_each_piece(how, tile.k, [&](Index begin, Index n) {
    t.k = n;
    t.left = tile.left + begin;
    t.right = tile.right + begin * width;
    t.accumulate = begin > 0;
    how.row(t);
  });
}

/// One piece of a product with the panels from `first` to `last`, blocks of rows one after the
/// other. `tile` says where the first panel of all begins; `right(panel)` is where that panel's
/// piece does, or for `last` what is read afterwards, or null. `epilogue` belongs to the last
/// piece.
template <class Function>
void multiply_panels(const Product& how, const Tile& tile, Index strip, Index first, Index last,
                     Function&& right, const Epilogue<float>* epilogue) {
  const Index block = rounded_up(rows_at_once, how.rows);
  for (Index row = 0; row < tile.rows; row += block) {
    for (Index panel = first; panel < last; ++panel) {
      const Index column = panel * panel_columns;
      Tile t = tile_from(tile, row, column);
      t.rows = std::min(block, t.rows);
      t.columns = std::min(panel_columns, t.columns);
      t.left += row / how.rows * strip;
      t.right = right(panel);
      multiply_piece(
          how, t, strip, rounded_up(t.columns, column_unit), row == 0 ? right(panel + 1) : nullptr,
          [&](Index i, Index n) {
            if (epilogue == nullptr) return;
            finish_tile(*epilogue, {t.c + i * t.stride, n, t.columns, t.stride}, row + i, column);
          });
    }
  }
}

/// Ranges of panels that threads take, on one thread all of them.
[[nodiscard]] inline Index panels_of_a_task(const ThreadPool* pool, Index panels) noexcept {
  const Index tasks = pool == nullptr || pool->threads() == 1 ? 1 : 4 * pool->threads();
  return divided_up(panels, tasks);
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

/// c = left right + bias, or c += left right with `accumulate`, of floats or of their nearest
/// bfloat16. Without a pool, on the calling thread. The right operand is packed piece by piece.
inline void float_product(ThreadPool* pool, Precision precision, const Strided& left,
                          const Strided& right, MatrixView<float> c, bool accumulate,
                          const Epilogue<float>& epilogue) {
  const Product& how = active_kernels().product(precision);
  const Index steps = divided_up(left.k, how.group);
  const Index strip = strip_size(how, steps);
  const Index rows = std::max(fewest_left_rows, left_words_at_once / std::max<Index>(steps, 1));
  if (c.rows > rows) {
    for (Index row = 0; row < c.rows; row += rows) {
      const Index n = std::min(rows, c.rows - row);
      float_product(pool, precision, left.vectors(row, n), right, c.middle_rows(row, n), accumulate,
                    epilogue_of_rows(epilogue, row));
    }
    return;
  }
  const Tile tile{.left = pack_left(pool, how, left).words,
                  .c = c.data,
                  .stride = c.stride,
                  .rows = c.rows,
                  .columns = c.cols,
                  .bias = epilogue.bias};
  const Index panels = divided_up(c.cols, panel_columns);
  on_ranges(pool, panels, panels_of_a_task(pool, panels), [&](Index begin, Index end) {
    const Index panel_words = panel_columns * piece_of(how, steps);
    const Index at_once = std::clamp<Index>(words_at_once / panel_words, 1, end - begin);
    Word* const words = scratch<Word, Scratch::right>(at_once * panel_words);
    for (Index first = begin; first < end; first += at_once) {
      const Index last = std::min(first + at_once, end);
      for_each_piece(how, steps, [&](Index p, Index n) {
        right.piece(p * how.group, n * how.group).pack_panels(how.group, first, last, words);
        Tile t = tile;
        t.k = n;
        t.left += p * how.rows * how.planes;
        t.accumulate = accumulate || p > 0;
        multiply_panels(
            how, t, strip, first, last,
            [&](Index panel) {
              return panel < last ? words + (panel - first) * panel_columns * n : nullptr;
            },
            p + n < steps ? nullptr : &epilogue);
      });
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

namespace detail {

/// A row alone and all panels of a weight.
inline void multiply_row_by_all(ThreadPool& pool, const Product& how, const PackedWeight& weight,
                                const Tile& row, const Epilogue<float>& epilogue) {
  const Index panels = weight.panels();
  const Index grain = std::clamp<Index>(panels / pool.threads(), 1, how.row_panels);
  parallel_for(pool, panels, grain, [&](Index begin, Index end) {
    for (Index panel = begin, count = 1; panel < end; panel += count) {
      const bool narrow_last = weight.width(end - 1) < weight.width(panel);
      count = std::min(how.row_panels, end - panel - (narrow_last ? 1 : 0));
      const Index column = panel * panel_columns;
      Tile t = tile_from(row, 0, column);
      t.right = weight.panel(panel);
      t.columns = std::min(count * panel_columns, t.columns);
      multiply_row(how, t, weight.width(panel));
      finish_tile(epilogue, {t.c, 1, t.columns, t.stride}, 0, column);
    }
  });
}

}  // namespace detail

/// The same with weights that were packed beforehand, in their arithmetic.
inline void packed_linear(ThreadPool& pool, const PackedWeight& weight, MatrixView<const float> x,
                          Epilogue<float> epilogue, MatrixView<float> y) {
  epilogue.approximate = weight.precision() != Precision::full;
  const Product& how = active_kernels().product(weight.precision());
  const bool alone = y.rows == 1 && how.row != nullptr;
  const detail::PackedRows rows =
      alone ? detail::pack_row(weight, x.data) : detail::pack_left(&pool, weight, x);
  const bool bytes = weight.precision() == Precision::int8;
  const Tile tile{.k = weight.steps(),
                  .left = rows.words,
                  .c = y.data,
                  .stride = y.stride,
                  .rows = y.rows,
                  .columns = y.cols,
                  .bias = epilogue.bias,
                  .row_scale = rows.scale,
                  .row_offset = rows.offset,
                  .column_scale = bytes ? weight.column_scale() : nullptr,
                  .column_sum = bytes ? weight.column_sum() : nullptr};
  const Index panels = weight.panels();
  if (alone) return detail::multiply_row_by_all(pool, how, weight, tile, epilogue);
  // Few rows meet a panel from its beginning to its end, as it lies in memory.
  const Index panel_words = panel_columns * detail::piece_of(how, tile.k);
  const Index at_once = y.rows <= detail::rows_at_once
                            ? 1
                            : std::clamp<Index>(detail::words_at_once / panel_words, 1, panels);
  parallel_for(pool, panels, detail::panels_of_a_task(&pool, panels), [&](Index begin, Index end) {
    for (Index first = begin; first < end; first += at_once) {
      const Index last = std::min(first + at_once, end);
      detail::for_each_piece(how, tile.k, [&](Index p, Index n) {
        Tile t = tile;
        t.k = n;
        t.left += p * how.rows * how.planes;
        t.accumulate = p > 0;
        const bool ends = p + n >= tile.k;
        detail::multiply_panels(
            how, t, detail::strip_size(how, tile.k), first, last,
            [&](Index panel) -> const Word* {
              if (panel < last) return weight.panel(panel) + p * weight.width(panel);
              if (!ends) return weight.panel(first) + (p + n) * weight.width(first);
              return panel < panels ? weight.panel(panel) : nullptr;
            },
            ends ? &epilogue : nullptr);
      });
    }
  });
}

/// sums[j] += sum over i of x[i, j].
template <class Scalar>
void add_column_sums(ThreadPool& pool, MatrixView<const Scalar> x, Scalar* sums) {
  using Row = Eigen::Array<Scalar, 1, Eigen::Dynamic>;
  // As long parts of rows as there may be: memory is read in its order.
  const Index columns = std::max<Index>(512, detail::divided_up(x.cols, pool.threads()));
  parallel_for(pool, x.cols, columns, [&](Index begin, Index end) {
    Eigen::Map<Row> sum(sums + begin, end - begin);
    for (Index i = 0; i < x.rows; ++i) {
      sum += Eigen::Map<const Row>(x.row(i) + begin, end - begin);
    }
  });
}

}  // namespace eigenformer::kernels
