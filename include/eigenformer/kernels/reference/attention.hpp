// Reference of scaled dot-product attention, one query of one head at a time:
//   y = sum over keys of d p v,  p = softmax(scale q . k) over the keys that the query may see,
// with dropout factors d. A query that may see none has p = 1 / keys, whatever q and k are, and so
// no gradient for them. Backward, with g = dy . v d and r = sum over keys of p g:
//   dv += d p dy,  dq += scale p (g - r) k,  dk += scale p (g - r) q.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "eigenformer/kernels/attention.hpp"
#include "eigenformer/kernels/reference/dropout.hpp"
#include "eigenformer/kernels/reference/wide.hpp"

namespace eigenformer::kernels::reference {

/// Calls use(query, first key, keys, head, how many keys causality leaves, position)
/// for every query of every head; `position` is where its probabilities begin among all.
template <class Scalar, class Use>
void for_each_query(const Attention<Scalar>& attention, Use&& use) {
  Index position = 0;
  for (std::size_t segment = 0; segment + 1 < attention.query_offsets.size(); ++segment) {
    const Index first_query = attention.query_offsets[segment];
    const Index first_key = attention.key_offsets[segment];
    const Index queries = attention.query_offsets[segment + 1] - first_query;
    const Index keys = attention.key_offsets[segment + 1] - first_key;
    for (Index head = 0; head < attention.heads; ++head) {
      for (Index i = 0; i < queries; ++i, position += keys) {
        // In causal attention the last query sees all keys, the one before it all but one.
        const Index visible = attention.causal ? keys - (queries - 1 - i) : keys;
        use(first_query + i, first_key, keys, head, visible, position);
      }
    }
  }
}

/// Whether the mask and causality let a query see key `j` of its segment.
template <class Scalar>
[[nodiscard]] bool sees(const Attention<Scalar>& attention, Index first_key, Index j,
                        Index visible) {
  const auto at = static_cast<std::size_t>(first_key + j);
  return j < visible && (attention.key_mask.empty() || attention.key_mask[at] != 0);
}

/// Writes out, and the probabilities before dropout unless null.
template <class Scalar>
void attention_forward(const Attention<Scalar>& attention, MatrixView<Scalar> out,
                       Scalar* probabilities) {
  using Real = Wide<Scalar>;
  const Index size = attention.query.cols / attention.heads;
  const Index value_size = attention.value.cols / attention.heads;
  for_each_query(attention, [&](Index query, Index first_key, Index keys, Index head, Index visible,
                                Index position) {
    std::vector<Real> p(static_cast<std::size_t>(keys));
    Real top = -std::numeric_limits<Real>::infinity();
    for (Index j = 0; j < keys; ++j) {
      Real& score = p[static_cast<std::size_t>(j)];
      score = -std::numeric_limits<Real>::infinity();
      if (!sees(attention, first_key, j, visible)) continue;
      score = 0;
      for (Index c = head * size; c < (head + 1) * size; ++c) {
        score += Real(attention.query.row(query)[c]) * attention.key.row(first_key + j)[c];
      }
      score *= attention.scale;
      top = std::fmax(top, score);
    }
    Real sum = 0;
    for (Real& score : p) sum += score = std::isinf(top) ? 1 : std::exp(score - top);
    for (Real& weight : p) weight /= sum;
    for (Index c = head * value_size; c < (head + 1) * value_size; ++c) {
      Real y = 0;
      for (Index j = 0; j < keys; ++j) {
        y += p[static_cast<std::size_t>(j)] *
             dropout_factor<Scalar>(attention.dropout, position + j) *
             attention.value.row(first_key + j)[c];
      }
      out.row(query)[c] = static_cast<Scalar>(y);
    }
    for (Index j = 0; probabilities != nullptr && j < keys; ++j) {
      probabilities[position + j] = static_cast<Scalar>(p[static_cast<std::size_t>(j)]);
    }
  });
}

/// Gradients from the saved probabilities.
template <class Scalar>
void attention_backward(const Attention<Scalar>& attention, const Scalar* probabilities,
                        MatrixView<const Scalar> dout, MatrixView<Scalar> dquery,
                        MatrixView<Scalar> dkey, MatrixView<Scalar> dvalue) {
  using Real = Wide<Scalar>;
  const Index size = attention.query.cols / attention.heads;
  const Index value_size = attention.value.cols / attention.heads;
  for (const MatrixView<Scalar>& d : {dquery, dkey, dvalue}) {
    for (Index i = 0; i < d.rows; ++i) std::fill_n(d.row(i), d.cols, Scalar(0));
  }
  for_each_query(attention, [&](Index query, Index first_key, Index keys, Index head, Index visible,
                                Index position) {
    const Scalar* p = probabilities + position;
    std::vector<Real> g(static_cast<std::size_t>(keys));
    Real r = 0;
    for (Index j = 0; j < keys; ++j) {
      const Real d = dropout_factor<Scalar>(attention.dropout, position + j);
      Real& slope = g[static_cast<std::size_t>(j)];
      for (Index c = head * value_size; c < (head + 1) * value_size; ++c) {
        slope += d * dout.row(query)[c] * attention.value.row(first_key + j)[c];
        dvalue.row(first_key + j)[c] += static_cast<Scalar>(d * p[j] * dout.row(query)[c]);
      }
      r += p[j] * slope;
    }
    for (Index j = 0; j < keys; ++j) {
      if (!sees(attention, first_key, j, visible)) continue;
      const Real factor = attention.scale * p[j] * (g[static_cast<std::size_t>(j)] - r);
      for (Index c = head * size; c < (head + 1) * size; ++c) {
        dquery.row(query)[c] += static_cast<Scalar>(factor * attention.key.row(first_key + j)[c]);
        dkey.row(first_key + j)[c] += static_cast<Scalar>(factor * attention.query.row(query)[c]);
      }
    }
  });
}

}  // namespace eigenformer::kernels::reference
