// Embeddings: sums of rows looked up in tables. The gradient for a table adds up the rows.
#pragma once

#include <span>
#include <vector>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/embedding.hpp"

namespace eigenformer {

/// One table of an embedding sum.
template <class Scalar>
struct Lookup {
  Tensor<Scalar> table;          ///< `[entries, hidden]`
  std::span<const TokenId> ids;  ///< `[tokens]`
  Index padding = -1;            ///< an entry that gets no gradient, as HF's padding_idx; -1: none
  /// Null, or what reads the table's rows; of the first table of a sum alone.
  const kernels::RowReader<Scalar>* reader = nullptr;
};

/// `table[ids]` of all lookups, added in the order given: `[tokens, hidden]`. Throws ShapeError
/// for ids outside a table, and for tables or ids of different sizes.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> embedding_sum(Context& cx,
                                           std::initializer_list<Lookup<Scalar>> lookups) {
  check<ShapeError>(lookups.size() > 0, "embedding_sum: no tables");
  const Lookup<Scalar>& first = *lookups.begin();
  const auto tokens = static_cast<Index>(first.ids.size());
  Tensor<Scalar> sum = cx.empty<Scalar>({tokens, first.table.cols()});  // [tokens, hidden]
  struct Saved {
    Tensor<Scalar> table;
    std::vector<TokenId> ids;
    Index padding;
  };
  std::vector<Saved> saved;
  Tape<Scalar>* tape = tape_of<Scalar>(cx);
  for (const Lookup<Scalar>& lookup : lookups) {
    check<ShapeError>(lookup.table.rank() == 2 && lookup.table.cols() == sum.cols(),
                      "embedding_sum: tables ", first.table.shape(), " and ", lookup.table.shape(),
                      " do not have rows of the same size");
    check<ShapeError>(static_cast<Index>(lookup.ids.size()) == tokens, "embedding_sum: ", tokens,
                      " and ", lookup.ids.size(), " ids cannot be added");
    for (std::size_t i = 0; i < lookup.ids.size(); ++i) {
      check<ShapeError>(lookup.ids[i] >= 0 && lookup.ids[i] < lookup.table.size(0),
                        "embedding: id ", lookup.ids[i], " at position ", i,
                        " is outside the table of ", lookup.table.size(0), " entries");
    }
    const bool later = &lookup != lookups.begin();
    if (lookup.reader != nullptr && !later)
      kernels::read_rows(cx.threads(), *lookup.reader, lookup.ids, sum.view());
    else
      kernels::lookup_rows<Scalar>(cx.threads(), lookup.table.view(), lookup.ids, sum.view(),
                                   later);
    if (tape != nullptr && tape->tracks(lookup.table)) {
      saved.push_back({lookup.table, {lookup.ids.begin(), lookup.ids.end()}, lookup.padding});
    }
  }
  if (!saved.empty()) {
    tape->record(cx, sum, [saved](auto& pass, const Tensor<Scalar>& dsum) {
      for (const Saved& lookup : saved) {
        kernels::lookup_rows_backward<Scalar>(pass.context().threads(), dsum.view(), lookup.ids,
                                              lookup.padding,
                                              pass.accumulator(lookup.table).view());
      }
    });
  }
  return sum;
}

}  // namespace eigenformer
