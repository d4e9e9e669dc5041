// Scaled dot-product attention (arXiv:1706.03762) over packed segments:
//   softmax(q k^T scale + mask) v, for each segment and head by itself.
// Masked scores become the lowest finite number, as in HF's eager attention: a query that may see
// nothing attends to all keys of its segment alike, and its scores have no gradient.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "eigenformer/kernels/dropout.hpp"
#include "eigenformer/kernels/gemm.hpp"
#include "eigenformer/kernels/softmax.hpp"

namespace eigenformer::kernels {

/// Inputs of attention. Queries of segment i meet keys and values of segment i. In causal
/// attention the last query stands at the last key.
template <class Scalar>
struct Attention {
  MatrixView<const Scalar> query;          ///< `[query tokens, heads * head size]`
  MatrixView<const Scalar> key;            ///< `[key tokens, heads * head size]`
  MatrixView<const Scalar> value;          ///< `[key tokens, heads * value size]`
  std::span<const Index> query_offsets;    ///< `[segments + 1]`
  std::span<const Index> key_offsets;      ///< `[segments + 1]`
  std::span<const std::uint8_t> key_mask;  ///< `[key tokens]`, 0: unseen; empty: all seen
  Index heads = 1;
  bool causal = false;
  Scalar scale = 1;
  DropoutPattern dropout = {};

  static constexpr Index block = 64;  ///< queries that are worked on at a time

  [[nodiscard]] Index segments() const noexcept {
    return static_cast<Index>(query_offsets.size()) - 1;
  }
  [[nodiscard]] Index head_size() const noexcept { return query.cols / heads; }
  [[nodiscard]] Index value_size() const noexcept { return value.cols / heads; }

  /// One head of one segment.
  struct Part {
    MatrixView<const Scalar> query, key, value;  ///< `[n, head size]`
    Index query_begin, key_begin, column, value_column;
    Index probabilities;  ///< where its `[queries, keys]` begin among all probabilities
  };

  [[nodiscard]] Part part(Index segment, Index head) const noexcept {
    const auto at = static_cast<std::size_t>(segment);
    Part part{};
    part.query_begin = query_offsets[at];
    part.key_begin = key_offsets[at];
    part.column = head * head_size();
    part.value_column = head * value_size();
    const Index queries = query_offsets[at + 1] - part.query_begin;
    const Index keys = key_offsets[at + 1] - part.key_begin;
    part.query = query.middle_rows(part.query_begin, queries).columns(part.column, head_size());
    part.key = key.middle_rows(part.key_begin, keys).columns(part.column, head_size());
    part.value = value.middle_rows(part.key_begin, keys).columns(part.value_column, value_size());
    part.probabilities = probabilities_before(segment) + head * queries * keys;
    return part;
  }

  /// How many probabilities all segments before `segment` have: `[heads, queries, keys]` each.
  [[nodiscard]] Index probabilities_before(Index segment) const noexcept {
    Index count = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(segment); ++i) {
      count +=
          heads * (query_offsets[i + 1] - query_offsets[i]) * (key_offsets[i + 1] - key_offsets[i]);
    }
    return count;
  }

  /// Scales one query's row of scores, or of their gradients, and puts `hidden` where the query
  /// does not see the key of its segment.
  void scale_and_mask(Scalar* row, Index query_row, const Part& part,
                      Scalar hidden) const noexcept {
    const Index keys = part.key.rows;
    const Index visible = causal ? query_row + 1 + keys - part.query.rows : keys;
    for (Index j = 0; j < keys; ++j) {
      const bool seen =
          j < visible &&
          (key_mask.empty() || key_mask[static_cast<std::size_t>(part.key_begin + j)] != 0);
      row[j] = seen ? row[j] * scale : hidden;
    }
  }
};

/// Writes out `[query tokens, heads * value size]`, and, unless null, the `probabilities` of all
/// segments one after the other, `[heads, queries, keys]` each, before dropout.
template <class Scalar>
void attention_forward(ThreadPool& pool, const Attention<Scalar>& attention, MatrixView<Scalar> out,
                       Scalar* probabilities) {
  const Index heads = attention.heads;
  pool.run(attention.segments() * heads, [&](Index task) {
    const auto part = attention.part(task / heads, task % heads);
    const Index queries = part.query.rows;
    const Index keys = part.key.rows;
    const detail::RightOperand<Scalar, detail::Scratch::keys> transposed_key(Layout::b_transposed,
                                                                             part.key);
    const detail::RightOperand<Scalar, detail::Scratch::values> value(Layout::plain, part.value);
    for (Index begin = 0; begin < queries; begin += attention.block) {
      const Index count = std::min(attention.block, queries - begin);
      const MatrixView<Scalar> scores{
          detail::scratch<Scalar, detail::Scratch::scores>(count * keys), count, keys, keys};
      transposed_key.multiply(part.query.middle_rows(begin, count), scores);
      const Index first = part.probabilities + begin * keys;
      for (Index i = 0; i < count; ++i) {
        attention.scale_and_mask(scores.row(i), begin + i, part,
                                 std::numeric_limits<Scalar>::lowest());
        softmax_row(scores.row(i), scores.row(i), keys);
      }
      if (probabilities != nullptr) {
        std::copy_n(scores.data, count * keys, probabilities + first);
      }
      if (attention.dropout.drops()) {
        attention.dropout.apply(scores.data, scores.data, count * keys, first);
      }
      const MatrixView<Scalar> target = out.middle_rows(part.query_begin + begin, count)
                                            .columns(part.value_column, attention.value_size());
      value.multiply(scores, target);
    }
  });
}

/// Gradients from the saved probabilities. dquery, dkey and dvalue are added to.
template <class Scalar>
void attention_backward(ThreadPool& pool, const Attention<Scalar>& attention,
                        const Scalar* probabilities, MatrixView<const Scalar> dout,
                        MatrixView<Scalar> dquery, MatrixView<Scalar> dkey,
                        MatrixView<Scalar> dvalue) {
  const Index heads = attention.heads;
  pool.run(attention.segments() * heads, [&](Index task) {
    const auto part = attention.part(task / heads, task % heads);
    const Index queries = part.query.rows;
    const Index keys = part.key.rows;
    const auto head_of = [&](MatrixView<Scalar> d, Index begin, Index rows, Index column,
                             Index width) {
      return d.middle_rows(begin, rows).columns(column, width);
    };
    const MatrixView<const Scalar> p{probabilities + part.probabilities, queries, keys, keys};
    const MatrixView<Scalar> work{detail::scratch<Scalar, detail::Scratch::scores>(queries * keys),
                                  queries, keys, keys};
    const MatrixView<const Scalar> dy = dout.middle_rows(part.query_begin, queries)
                                            .columns(part.value_column, attention.value_size());
    const bool drops = attention.dropout.drops();
    // dv += dropped(p)^T dy
    if (drops) attention.dropout.apply(p.data, work.data, queries * keys, part.probabilities);
    gemm_tile<Scalar>(
        Layout::a_transposed, drops ? MatrixView<const Scalar>(work) : p, dy,
        head_of(dvalue, part.key_begin, keys, part.value_column, attention.value_size()));
    // dp = dropout(dy v^T), then through the softmax
    std::fill_n(work.data, queries * keys, Scalar(0));
    gemm_tile<Scalar>(Layout::b_transposed, dy, part.value, work);
    if (drops) attention.dropout.apply(work.data, work.data, queries * keys, part.probabilities);
    for (Index i = 0; i < queries; ++i) {
      softmax_row_backward(p.row(i), work.row(i), work.row(i), keys);
      attention.scale_and_mask(work.row(i), i, part, Scalar(0));
    }
    gemm_tile<Scalar>(
        Layout::plain, work, part.key,
        head_of(dquery, part.query_begin, queries, part.column, attention.head_size()));
    gemm_tile<Scalar>(Layout::a_transposed, work, part.query,
                      head_of(dkey, part.key_begin, keys, part.column, attention.head_size()));
  });
}

}  // namespace eigenformer::kernels
