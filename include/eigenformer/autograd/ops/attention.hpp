// scaled_dot_product_attention: softmax(q k^T / sqrt(d)) v per segment and head.
// The backward pass starts from the probabilities p, which it computes again:
//   dv = p^T dy,  dp = dy v^T,  ds = p (dp - rowsum(dp p)),  dq = ds k / sqrt(d),  dk = ds^T q /
//   sqrt(d).
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "eigenformer/autograd/keep_rounded.hpp"
#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/attention.hpp"

namespace eigenformer {

/// What attention does beside its three inputs.
struct AttentionOptions {
  Index heads = 1;                       ///< must divide the columns of query and value
  bool causal = false;                   ///< queries see no later keys; the last sees all
  std::span<const Index> segments = {};  ///< `[n + 1]` offsets of the queries; empty: one segment
  std::span<const Index> key_segments = {};  ///< offsets of keys and values; empty: as the queries'
  std::span<const std::uint8_t> key_mask = {};  ///< `[key tokens]`, 0: unseen; empty: all seen
  std::optional<double> scale = {};             ///< default 1 / sqrt(head size)
  double dropout = 0;                     ///< of the probabilities; acts when the context drops
  Precision precision = Precision::full;  ///< reduced: may multiply in bfloat16, without a tape
};

/// Probabilities of one call: for each segment `[heads, queries, keys]`.
template <class Scalar>
using AttentionProbabilities = std::vector<Tensor<Scalar>>;

namespace detail {

/// Query, key and value.
template <class Scalar>
using AttentionInputs = std::array<Tensor<Scalar>, 3>;

/// The three as they lie beside each other.
template <class Scalar>
[[nodiscard]] AttentionInputs<Scalar> thirds(const Tensor<Scalar>& query_key_value) {
  const Tensor<Scalar> all = query_key_value.detach();  // [tokens, 3 * n]
  const Index n = all.cols() / 3;
  return {all.slice(-1, 0, n), all.slice(-1, n, 2 * n), all.slice(-1, 2 * n, 3 * n)};
}

/// Attention with query, key and value as constants. Unless `tape` is null, the result is recorded:
/// `keep(tape)` gives a function that a backward pass gets the three from, and `gradients(pass,
/// compute)` passes on what compute(dquery, dkey, dvalue) writes to the views that it is given.
template <class Scalar, class Keep, class Gradients>
[[nodiscard]] Tensor<Scalar> attention(Context& cx, Tape<Scalar>* tape, const Tensor<Scalar>& query,
                                       const Tensor<Scalar>& key, const Tensor<Scalar>& value,
                                       const AttentionOptions& options,
                                       AttentionProbabilities<Scalar>* probabilities, Keep&& keep,
                                       Gradients&& gradients) {
  check<ShapeError>(query.rank() == 2 && key.rank() == 2 && value.rank() == 2, "attention: query ",
                    query.shape(), ", key ", key.shape(), " and value ", value.shape(),
                    " must be [tokens, heads * head size]");
  check<ShapeError>(
      options.heads > 0 && query.cols() % options.heads == 0 && value.cols() % options.heads == 0,
      "attention: ", options.heads, " heads do not divide query ", query.shape(), " and value ",
      value.shape());
  check<ShapeError>(key.cols() == query.cols() && key.size(0) == value.size(0),
                    "attention: key is ", key.shape(), " but query is ", query.shape(),
                    " and value ", value.shape(),
                    "; key must have query's columns and value's rows");
  check<ShapeError>(
      options.key_mask.empty() || static_cast<Index>(options.key_mask.size()) == key.size(0),
      "attention: ", options.key_mask.size(), " mask values for ", key.size(0), " keys");
  check(options.dropout >= 0 && options.dropout < 1, "attention: dropout probability ",
        options.dropout, " is outside [0, 1)");
  const std::array<Index, 2> all_queries{0, query.size(0)};
  const std::array<Index, 2> all_keys{0, key.size(0)};
  const auto offsets_of = [](std::span<const Index> offsets, Index tokens) {
    bool valid = offsets.front() == 0 && offsets.back() == tokens;
    for (std::size_t i = 1; i < offsets.size(); ++i) valid &= offsets[i - 1] <= offsets[i];
    check<ShapeError>(valid, "attention: segment offsets must rise from 0 to ", tokens,
                      ", the number of rows, but go from ", offsets.front(), " to ",
                      offsets.back());
    return offsets;
  };
  const std::span<const Index> query_offsets =
      offsets_of(options.segments.empty() ? all_queries : options.segments, query.size(0));
  const std::span<const Index> key_offsets =
      offsets_of(!options.key_segments.empty() ? options.key_segments
                 : options.segments.empty()    ? all_keys
                                               : options.segments,
                 key.size(0));
  check<ShapeError>(query_offsets.size() == key_offsets.size(),
                    "attention: ", query_offsets.size() - 1, " query segments but ",
                    key_offsets.size() - 1, " key segments");

  kernels::DropoutPattern pattern;
  if (cx.dropout != nullptr && options.dropout > 0) pattern = cx.dropout->next(options.dropout);
  const double scale =
      options.scale.value_or(1.0 / std::sqrt(static_cast<double>(query.cols() / options.heads)));
  kernels::Attention<Scalar> attention{query.view(),  key.view(),       value.view(),
                                       query_offsets, key_offsets,      options.key_mask,
                                       options.heads, options.causal,   static_cast<Scalar>(scale),
                                       pattern,       options.precision};
  Tensor<Scalar> out = cx.empty<Scalar>({query.size(0), value.cols()});  // [tokens, heads * e]
  Tensor<Scalar> saved;                                                  // [probabilities]
  if (probabilities != nullptr) {
    saved = cx.empty<Scalar>({attention.probabilities_before(attention.segments())});
  }
  kernels::attention_forward<Scalar>(cx.threads(), attention, out.view(), saved.data());
  if (probabilities != nullptr) {
    probabilities->clear();
    for (Index i = 0; i < attention.segments(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      probabilities->push_back(
          saved.rows(attention.probabilities_before(i), attention.probabilities_before(i + 1))
              .reshape(Shape{options.heads, query_offsets[at + 1] - query_offsets[at],
                             key_offsets[at + 1] - key_offsets[at]}));
    }
  }
  if (tape != nullptr) {
    tape->record(
        cx, out,
        [attention, kept = keep(*tape), gradients = std::forward<Gradients>(gradients),
         query_offsets = std::vector<Index>(query_offsets.begin(), query_offsets.end()),
         key_offsets = std::vector<Index>(key_offsets.begin(), key_offsets.end()),
         mask = std::vector<std::uint8_t>(options.key_mask.begin(), options.key_mask.end())](
            auto& pass, const Tensor<Scalar>& dout) {
          const auto [q, k, v] = kept(pass.context());
          kernels::Attention<Scalar> again = attention;
          again.query = q.view();
          again.key = k.view();
          again.value = v.view();
          again.query_offsets = query_offsets;
          again.key_offsets = key_offsets;
          again.key_mask = mask;
          gradients(pass, [&](MatrixView<Scalar> dquery, MatrixView<Scalar> dkey,
                              MatrixView<Scalar> dvalue) {
            kernels::attention_backward<Scalar>(pass.context().threads(), again, dout.view(),
                                                dquery, dkey, dvalue);
          });
        });
  }
  return out;
}

}  // namespace detail

/// `query` `[tokens, heads * d]`, `key` `[key tokens, heads * d]`, `value` `[key tokens, heads *
/// e]`:
/// `[tokens, heads * e]`. `probabilities`, unless null, gets the softmax before dropout, untracked.
/// A query that may see no key attends to its whole segment alike, as in HF's eager attention.
/// Throws ShapeError; Error for a dropout probability outside [0, 1). (arXiv:1706.03762; mirrors
/// torch.nn.functional.scaled_dot_product_attention.)
template <class Scalar>
[[nodiscard]] Tensor<Scalar> scaled_dot_product_attention(
    Context& cx, const Tensor<Scalar>& query, const Tensor<Scalar>& key,
    const Tensor<Scalar>& value, const AttentionOptions& options,
    AttentionProbabilities<Scalar>* probabilities = nullptr) {
  return detail::attention(
      cx, tracking<Scalar>(cx, query, key, value), query.detach(), key.detach(), value.detach(),
      options, probabilities,
      [&](const auto& tape) {
        const auto keep = [&](const Tensor<Scalar>& x) {
          return detail::keep_rounded(cx, tape, x, cx.products);
        };
        return [query = keep(query), key = keep(key), value = keep(value)](Context& bx) {
          return detail::AttentionInputs<Scalar>{query(bx), key(bx), value(bx)};
        };
      },
      [query = query.place(), key = key.place(), value = value.place()](auto& pass,
                                                                        auto&& compute) {
        Context& bx = pass.context();
        Tensor<Scalar> dquery = bx.empty<Scalar>(query.shape());  // [tokens, heads * d]
        Tensor<Scalar> dkey = bx.empty<Scalar>(key.shape());      // [key tokens, heads * d]
        Tensor<Scalar> dvalue = bx.empty<Scalar>(value.shape());  // [key tokens, heads * e]
        compute(dquery.view(), dkey.view(), dvalue.view());
        pass.add(query, std::move(dquery));
        pass.add(key, std::move(dkey));
        pass.add(value, std::move(dvalue));
      });
}

/// The same within each text, with query, key and value beside each other: `query_key_value`
/// `[tokens, 3 * heads * d]`. The key segments are the queries'.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> self_attention(
    Context& cx, const Tensor<Scalar>& query_key_value, const AttentionOptions& options,
    AttentionProbabilities<Scalar>* probabilities = nullptr) {
  check<ShapeError>(query_key_value.rank() == 2 && query_key_value.cols() % 3 == 0,
                    "attention: query, key and value are ", query_key_value.shape(),
                    " together; they must be [tokens, 3 * heads * head size]");
  const auto [query, key, value] = detail::thirds(query_key_value);
  return detail::attention(
      cx, tracking<Scalar>(cx, query_key_value), query, key, value, options, probabilities,
      [&](const auto& tape) {
        return [kept = detail::keep_rounded(cx, tape, query_key_value, cx.products)](Context& bx) {
          return detail::thirds(kept(bx));
        };
      },
      [query_key_value = query_key_value.place()](auto& pass, auto&& compute) {
        const Index n = query_key_value.cols() / 3;
        Tensor<Scalar> d =
            pass.context().template empty<Scalar>(query_key_value.shape());  // [tokens, 3 * n]
        compute(d.view().columns(0, n), d.view().columns(n, n), d.view().columns(2 * n, n));
        pass.add(query_key_value, std::move(d));
      });
}

/// The same on Eigen matrices of one scalar.
template <class Query, class Key, class Value>
[[nodiscard]] auto scaled_dot_product_attention(Context& cx, const Eigen::DenseBase<Query>& query,
                                                const Eigen::DenseBase<Key>& key,
                                                const Eigen::DenseBase<Value>& value,
                                                const AttentionOptions& options) {
  using Scalar = typename Query::Scalar;
  return scaled_dot_product_attention(cx, Tensor<Scalar>(query), Tensor<Scalar>(key),
                                      Tensor<Scalar>(value), options);
}

}  // namespace eigenformer
