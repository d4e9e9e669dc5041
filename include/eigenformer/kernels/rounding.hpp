// Rows of numbers kept as bfloat16: half the memory, where no more digits are read again.
#pragma once

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Words of a row of n numbers as pairs of bfloat16: whole vectors of 16 numbers.
[[nodiscard]] inline Index rounded_words(Index n) noexcept { return (n + 15) / 16 * 8; }

/// The nearest bfloat16 of x `[m, n]`: `[m, rounded_words(n)]`.
inline void round_rows(ThreadPool& pool, MatrixView<const float> x, MatrixView<Word> rounded) {
  parallel_for(pool, x.rows, 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      active_kernels().bfloat16_row(x.row(i), x.cols, rounded.row(i));
    }
  });
}

/// What round_rows() wrote, as numbers y `[m, n]`.
inline void read_rounded_rows(ThreadPool& pool, MatrixView<const Word> rounded,
                              MatrixView<float> y) {
  parallel_for(pool, y.rows, 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      active_kernels().float_row(rounded.row(i), y.cols, y.row(i));
    }
  });
}

}  // namespace eigenformer::kernels
