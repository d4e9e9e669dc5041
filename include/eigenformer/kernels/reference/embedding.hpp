// Reference of embedding tables: rows looked up, and rows added to in the order of the ids.
#pragma once

#include <span>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/kernels/matrix_view.hpp"

namespace eigenformer::kernels::reference {

/// out[i] = table[ids[i]], or out[i] += table[ids[i]] with `accumulate`.
template <class Scalar>
void lookup_rows(MatrixView<const Scalar> table, std::span<const TokenId> ids,
                 MatrixView<Scalar> out, bool accumulate) {
  for (Index i = 0; i < out.rows; ++i) {
    for (Index j = 0; j < out.cols; ++j) {
      const Scalar before = accumulate ? out.row(i)[j] : Scalar(0);
      out.row(i)[j] = before + table.row(ids[static_cast<std::size_t>(i)])[j];
    }
  }
}

/// dtable[ids[i]] += dout[i] for ids other than `skipped`.
template <class Scalar>
void lookup_rows_backward(MatrixView<const Scalar> dout, std::span<const TokenId> ids,
                          Index skipped, MatrixView<Scalar> dtable) {
  for (Index i = 0; i < dout.rows; ++i) {
    const TokenId id = ids[static_cast<std::size_t>(i)];
    for (Index j = 0; id != skipped && j < dout.cols; ++j) dtable.row(id)[j] += dout.row(i)[j];
  }
}

}  // namespace eigenformer::kernels::reference
