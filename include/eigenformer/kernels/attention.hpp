// Scaled dot-product attention (arXiv:1706.03762) over packed segments:
//   softmax(q k^T scale + mask) v, for each segment and head by itself.
// Masked scores become the lowest finite number, as in HF's eager attention: a query that may see
// nothing attends to all keys of its segment alike, and its scores have no gradient.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

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
  Index heads = 1;                         ///< divides the columns of query, key and value
  bool causal = false;                     ///< queries see no later keys
  Scalar scale = 1;                        ///< what q k^T is multiplied with
  /// Of the probabilities; their positions are those of Part::probabilities.
  DropoutPattern dropout = {};
  Precision precision = Precision::full;  ///< anything else: in bfloat16, where that is faster

  static constexpr Index block = 64;  ///< queries that are worked on at a time

  /// How many texts there are.
  [[nodiscard]] Index segments() const noexcept {
    return static_cast<Index>(query_offsets.size()) - 1;
  }
  /// Columns of one head's queries and keys.
  [[nodiscard]] Index head_size() const noexcept { return query.cols / heads; }
  /// Columns of one head's values.
  [[nodiscard]] Index value_size() const noexcept { return value.cols / heads; }

  /// One head of one segment.
  struct Part {
    MatrixView<const Scalar> query;  ///< `[queries, head size]`
    MatrixView<const Scalar> key;    ///< `[keys, head size]`
    MatrixView<const Scalar> value;  ///< `[keys, value size]`
    Index query_begin;               ///< its first row of all queries
    Index key_begin;                 ///< its first row of all keys and values
    Index column;                    ///< its first column of all queries and keys
    Index value_column;              ///< its first column of all values
    Index probabilities;             ///< where its `[queries, keys]` begin among all probabilities
  };

  /// The rows of segment `segment` and the columns of head `head`.
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

  /// How many keys, from the first on, matter to the first `queries` queries: those that none of
  /// them sees, by their order alone, do not.
  [[nodiscard]] Index keys_for(Index queries, const Part& part) const noexcept {
    const Index later = part.key.rows - part.query.rows;
    const bool all_see = key_mask.empty() && later >= 0;  // each query at least one key
    return causal && all_see ? later + queries : part.key.rows;
  }

  /// Makes scores `[keys, queries from first_query]`, of the first keys, the lowest number where
  /// the query does not see the key.
  void hide(MatrixView<Scalar> scores, Index first_query, const Part& part) const noexcept {
    if (!causal && key_mask.empty()) return;
    for (Index j = 0; j < scores.rows; ++j) {
      const bool masked =
          !key_mask.empty() && key_mask[static_cast<std::size_t>(part.key_begin + j)] == 0;
      const Index first_to_see = j - part.key.rows + part.query.rows - first_query;
      const Index hidden = masked ? scores.cols : !causal ? 0 : first_to_see;
      std::fill_n(scores.row(j), std::clamp<Index>(hidden, 0, scores.cols),
                  std::numeric_limits<Scalar>::lowest());
    }
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

namespace detail {

inline constexpr Index query_block = panel_columns;  ///< queries whose scores are worked on at once
inline constexpr Index fewest_keys = 64;  ///< below it, setting AMX up takes longer than it saves

/// A left operand in strips.
inline const Word* pack_strips(const Product& how, const Strided& x, Word* words) {
  x.pack_strips(how, 0, divided_up(x.count, how.rows), words);
  return words;
}

/// Keys `[n, k]` as a left operand.
inline const Word* pack_keys(const Product& how, MatrixView<const float> key) {
  const Index size = strip_size(how, divided_up(key.cols, how.group));
  return pack_strips(how, {key.data, key.rows, key.cols, key.stride, 1},
                     scratch<Word, Scratch::keys>(divided_up(key.rows, how.rows) * size));
}

/// Values `[keys, n]` as the right operand of probabilities values; where the left operand comes in
/// blocks, as the left one of values^T probabilities.
inline const Word* pack_values(const Product& how, MatrixView<const float> value) {
  const Strided columns{value.data, value.cols, value.rows, 1, value.stride};
  const Index steps = divided_up(value.rows, how.group);
  if (how.block > 1) {
    const Index size = strip_size(how, steps);
    return pack_strips(how, columns,
                       scratch<Word, Scratch::values>(divided_up(value.cols, how.rows) * size));
  }
  const Index width = rounded_up(value.cols, column_unit);
  Word* const words = scratch<Word, Scratch::values>(steps * width);
  columns.pack(how.group, 0, width, words);
  return words;
}

/// out[i, j] = x[j, i] factors[i], for x with `step` numbers in a row, of which it changes the
/// first.
inline void scale_and_transpose(float* x, Index step, const float* factors, MatrixView<float> out) {
  const Kernels& kernels = active_kernels();
  const Index width = rounded_up(out.cols, 8);
  Word* const turned = scratch<Word, Scratch::rows>(out.rows * width);
  for (Index j = 0; j < out.cols; ++j) {
    kernels.multiply(x + j * step, factors, x + j * step, out.rows);
  }
  for (Index j = 0; j < out.cols; j += 8) {
    kernels.pack_words(words_of(x + j * step), step, std::min<Index>(8, out.cols - j), 8, out.rows,
                       turned + j, width);
  }
  for (Index i = 0; i < out.rows; ++i) {
    std::memcpy(out.row(i), turned + i * width, static_cast<std::size_t>(out.cols) * sizeof(float));
  }
}

/// Attention of one head of one segment, all of it in cache. Scores are computed transposed, [keys]
/// [queries]: then the softmax runs down whole vectors of queries, and its result is an operand of
/// the product with the values as it stands. Unless null, `kept` gets the probabilities
/// `[queries, keys]`.
inline void attend(const Attention<float>& attention, const Attention<float>::Part& part,
                   MatrixView<float> out, float* kept) {
  const Kernels& kernels = active_kernels();
  const bool too_few = kernels.attention_product.block > 1 && part.key.rows < fewest_keys;
  const bool reduced = attention.precision != Precision::full && !too_few;
  const Product& how = reduced ? kernels.attention_product : kernels.float_product;
  const Index all_keys = part.key.rows;
  const Index steps = divided_up(part.key.cols, how.group);
  const Index value_width = rounded_up(part.value.cols, column_unit);
  const Word* const key_words = pack_keys(how, part.key);
  const Word* const value_words = pack_values(how, part.value);
  Word* const query_words = scratch<Word, Scratch::queries>(query_block * steps);
  // The product reads a strip's rows beside the last queries too.
  float* const scores = scratch<float, Scratch::scores>(all_keys * query_block + how.rows);
  float inverse_sums[query_block];
  for (Index begin = 0; begin < part.query.rows; begin += query_block) {
    const Index count = std::min(query_block, part.query.rows - begin);
    const Index width = rounded_up(count, column_unit);
    const Index keys = attention.keys_for(begin + count, part);
    const Index value_steps = divided_up(keys, how.group);
    const MatrixView<const float> query = part.query.middle_rows(begin, count);
    Strided{query.data, count, query.cols, query.stride, 1}.pack(how.group, 0, width, query_words);
    multiply_panel(how,
                   {.k = steps,
                    .left = key_words,
                    .right = query_words,
                    .c = scores,
                    .stride = width,
                    .rows = keys,
                    .columns = width},
                   width);
    attention.hide(MatrixView<float>{scores, keys, width, width}, begin, part);
    Word* const probabilities = reinterpret_cast<Word*>(scores);  // written and read by memcpy
    (how.group == 2 ? kernels.softmax_columns_in_pairs : kernels.softmax_columns)(
        scores, keys, count, width, attention.scale, probabilities, inverse_sums);
    for (Index i = 0; i < count && kept != nullptr; ++i) {
      float* const row = kept + (begin + i) * all_keys;
      std::fill(row + keys, row + all_keys, 0.0f);
      for (Index key = 0; key < keys; ++key) {
        Word word = 0;
        std::memcpy(&word, probabilities + key / how.group * width + i, sizeof(word));
        const Word bits = how.group == 1 ? word : key % 2 == 0 ? word << 16 : word & 0xffff0000;
        row[key] = std::bit_cast<float>(bits) * inverse_sums[i];
      }
    }
    const MatrixView<float> target = out.middle_rows(part.query_begin + begin, count)
                                         .columns(part.value_column, part.value.cols);
    if (how.block > 1) {
      float* const sums = scratch<float, Scratch::scaled_row>(target.cols * width);
      const Index strip = strip_size(how, divided_up(all_keys, how.group));
      for (Index row = 0; row < target.cols; row += how.rows) {
        multiply_panel(how,
                       {.k = value_steps,
                        .left = value_words + row / how.rows * strip,
                        .right = probabilities,
                        .c = sums + row * width,
                        .stride = width,
                        .rows = std::min(how.rows, target.cols - row),
                        .columns = width},
                       width);
      }
      scale_and_transpose(sums, width, inverse_sums, target);
      continue;
    }
    for (Index first = 0; first < count; first += how.rows) {
      for (Index column = 0; column < part.value.cols; column += how.columns) {
        how.tile({.k = value_steps,
                  .left = probabilities + first,
                  .left_step = width,
                  .right = value_words + column,
                  .right_step = value_width,
                  .c = target.row(first) + column,
                  .stride = target.stride,
                  .rows = std::min(how.rows, count - first),
                  .columns = std::min(how.columns, part.value.cols - column),
                  .next = value_words,
                  .row_scale = inverse_sums + first});
      }
    }
  }
}

/// The same for some heads, of which `part` is the first, of a single query, as in generation: keys
/// and values are read where they lie, which for one query costs less than packing them.
inline void attend_alone(const Attention<float>& attention, const Attention<float>::Part& part,
                         Index heads, MatrixView<float> out, float* kept) {
  const Kernels& kernels = active_kernels();
  const Index keys = part.key.rows;
  const MatrixView<float> scores{scratch<float, Scratch::scores>(heads * keys), heads, keys, keys};
  kernels.dot_rows(part.query.row(0), part.key.data, part.key.stride, part.key.cols, scores);
  for (Index head = 0; head < heads; ++head) {
    attention.scale_and_mask(scores.row(head), 0, part, std::numeric_limits<float>::lowest());
    softmax_row(scores.row(head), scores.row(head), keys);
  }
  if (kept != nullptr) std::copy_n(scores.data, heads * keys, kept);
  kernels.sum_rows(scores, part.value.data, part.value.stride, part.value.cols,
                   out.row(part.query_begin) + part.value_column);
}

/// The softmax of the queries `begin` to `begin + rows` of `scores`, `[queries, keys]`.
template <class Scalar>
void attention_probabilities(const Attention<Scalar>& attention,
                             const typename Attention<Scalar>::Part& part, Index begin,
                             MatrixView<Scalar> scores) {
  gemm_tile<Scalar>(Layout::b_transposed, part.query.middle_rows(begin, scores.rows), part.key,
                    scores);
  for (Index i = 0; i < scores.rows; ++i) {
    attention.scale_and_mask(scores.row(i), begin + i, part, std::numeric_limits<Scalar>::lowest());
    softmax_row(scores.row(i), scores.row(i), scores.cols);
  }
}

}  // namespace detail

/// Writes out `[query tokens, heads * value size]`, and, unless null, the `probabilities` of all
/// segments one after the other, `[heads, queries, keys]` each, before dropout.
template <class Scalar>
void attention_forward(ThreadPool& pool, const Attention<Scalar>& attention, MatrixView<Scalar> out,
                       Scalar* probabilities) {
  const Index heads = attention.heads;
  const Index groups = std::clamp<Index>(pool.threads() / std::max<Index>(attention.segments(), 1),
                                         1, std::max<Index>(heads, 1));
  const Index together = detail::divided_up(heads, groups);  // heads of a query alone in a segment
  pool.run(attention.segments() * heads, [&](Index task) {
    const Index head = task % heads;
    const auto part = attention.part(task / heads, head);
    const Index queries = part.query.rows;
    const Index keys = part.key.rows;
    if constexpr (std::is_same_v<Scalar, float>) {
      if (!attention.dropout.drops() && attention.scale > 0 && keys > 0) {
        float* const kept = probabilities == nullptr ? nullptr : probabilities + part.probabilities;
        if (attention.causal && queries == 1) {
          if (head % together > 0) return;  // the first of them does it
          const Index count = std::min(together, heads - head);
          return detail::attend_alone(attention, part, count, out, kept);
        }
        return detail::attend(attention, part, out, kept);
      }
    }
    for (Index begin = 0; begin < queries; begin += attention.block) {
      const Index count = std::min(attention.block, queries - begin);
      const MatrixView<Scalar> scores{
          detail::scratch<Scalar, detail::Scratch::scores>(count * keys), count, keys, keys};
      detail::attention_probabilities(attention, part, begin, scores);
      const Index first = part.probabilities + begin * keys;
      if (probabilities != nullptr) {
        std::copy_n(scores.data, count * keys, probabilities + first);
      }
      if (attention.dropout.drops()) {
        attention.dropout.apply(scores.data, scores.data, count * keys, first);
      }
      const MatrixView<Scalar> target = out.middle_rows(part.query_begin + begin, count)
                                            .columns(part.value_column, attention.value_size());
      gemm_tile<Scalar>(Layout::plain, scores, part.value, target);
    }
  });
}

/// Gradients, by way of the probabilities, which are computed again: kept, they would take more
/// memory the longer the texts.
template <class Scalar>
void attention_backward(ThreadPool& pool, const Attention<Scalar>& attention,
                        MatrixView<const Scalar> dout, MatrixView<Scalar> dquery,
                        MatrixView<Scalar> dkey, MatrixView<Scalar> dvalue) {
  const Index heads = attention.heads;
  pool.run(attention.segments() * heads, [&](Index task) {
    const auto part = attention.part(task / heads, task % heads);
    const Index queries = part.query.rows;
    const Index keys = part.key.rows;
    const auto head_of = [&](MatrixView<Scalar> d, Index begin, Index rows, Index column,
                             Index width) {
      return d.middle_rows(begin, rows).columns(column, width);
    };
    Scalar* const room = detail::scratch<Scalar, detail::Scratch::scores>(2 * queries * keys);
    const MatrixView<Scalar> p{room, queries, keys, keys};
    const MatrixView<Scalar> work{room + queries * keys, queries, keys, keys};
    detail::attention_probabilities(attention, part, 0, p);
    const MatrixView<const Scalar> dy = dout.middle_rows(part.query_begin, queries)
                                            .columns(part.value_column, attention.value_size());
    const bool drops = attention.dropout.drops();
    // dv = dropped(p)^T dy
    if (drops) attention.dropout.apply(p.data, work.data, queries * keys, part.probabilities);
    gemm_tile<Scalar>(
        Layout::a_transposed, drops ? work : p, dy,
        head_of(dvalue, part.key_begin, keys, part.value_column, attention.value_size()));
    // dp = dropout(dy v^T), then through the softmax
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
