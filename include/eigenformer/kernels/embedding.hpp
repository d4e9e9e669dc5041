// Embedding tables: rows looked up and added; in training, rows added to.
#pragma once

#include <algorithm>
#include <functional>
#include <span>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Reads one row of a matrix, `[columns]`, from where it is kept.
template <class Scalar>
using RowReader = std::function<void(Index row, Scalar* out)>;

/// out[i] = the row ids[i] that `reader` reads.
template <class Scalar>
void read_rows(ThreadPool& pool, const RowReader<Scalar>& reader, std::span<const TokenId> ids,
               MatrixView<Scalar> out) {
  parallel_for(pool, out.rows, 64, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) reader(ids[static_cast<std::size_t>(i)], out.row(i));
  });
}

/// out[i] = table[ids[i]], or out[i] += table[ids[i]] with `accumulate`. Ids are in range.
template <class Scalar>
void lookup_rows(ThreadPool& pool, MatrixView<const Scalar> table, std::span<const TokenId> ids,
                 MatrixView<Scalar> out, bool accumulate) {
  parallel_for(pool, out.rows, 64, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Scalar* row = table.row(ids[static_cast<std::size_t>(i)]);
      if (!accumulate)
        std::copy_n(row, out.cols, out.row(i));
      else
        for (Index j = 0; j < out.cols; ++j) out.row(i)[j] += row[j];
    }
  });
}

/// dtable[ids[i]] += dout[i] for ids other than `skipped`, in the order of i.
template <class Scalar>
void lookup_rows_backward(ThreadPool& pool, MatrixView<const Scalar> dout,
                          std::span<const TokenId> ids, Index skipped, MatrixView<Scalar> dtable) {
  parallel_for(pool, dout.cols, 64, [&](Index begin, Index end) {
    for (Index i = 0; i < dout.rows; ++i) {
      const TokenId id = ids[static_cast<std::size_t>(i)];
      if (id == skipped) continue;
      for (Index j = begin; j < end; ++j) dtable.row(id)[j] += dout.row(i)[j];
    }
  });
}

}  // namespace eigenformer::kernels
