// add_low_rank: a weight with products of small matrices added to its rows (Hu et al.,
// arXiv:2106.09685), W + s B A:
//   dB = s dW A^T,  dA = s B^T dW.
#pragma once

#include <utility>
#include <vector>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/gemm.hpp"

namespace eigenformer {

/// What is added to some rows of a weight `[out, in]`: b a.
template <class Scalar>
struct LowRankTerm {
  RowRange rows;     ///< of the weight
  Tensor<Scalar> a;  ///< `[rank, in]`
  Tensor<Scalar> b;  ///< `[rows, rank]`
};

/// `weight` `[out, in]` with `factor` b a added for each term: `[out, in]`. Throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> add_low_rank(Context& cx, const Tensor<Scalar>& weight,
                                          std::vector<LowRankTerm<Scalar>> terms, Scalar factor) {
  const auto scaled = [factor](Context& on, const Tensor<Scalar>& x) {
    Tensor<Scalar> y = on.empty<Scalar>(x.shape());
    y.array() = factor * x.array();
    return y;
  };
  Tape<Scalar>* tape = tracking<Scalar>(cx, weight);
  Tensor<Scalar> sum = cx.empty<Scalar>(weight.shape());  // [out, in]
  sum.copy_from(weight);
  for (const auto& [rows, a, b] : terms) {
    check<ShapeError>(weight.rank() == 2 && a.rank() == 2 && a.size(1) == weight.size(1) &&
                          b.shape() == Shape{rows.size(), a.size(0)},
                      "add_low_rank: weight is ", weight.shape(), ", a is ", a.shape(), ", b is ",
                      b.shape(), " for ", rows.size(),
                      " rows; they must be [out, in], [rank, in] and [rows, rank]");
    Tensor<Scalar> target = sum.rows(rows);
    kernels::gemm<Scalar>(cx.threads(), kernels::Layout::plain, scaled(cx, b).view(), a.view(),
                          target.view(), true);
    if (tape == nullptr) tape = tracking<Scalar>(cx, a, b);
  }
  if (tape != nullptr) {
    tape->record(
        cx, sum,
        [weight, terms = std::move(terms), scaled](auto& pass, const Tensor<Scalar>& dsum) {
          Context& bx = pass.context();
          for (const auto& [rows, a, b] : terms) {
            const Tensor<Scalar> dw = dsum.rows(rows);  // [rows, in]
            if (pass.wants(b)) {
              const auto [db, add] = pass.target(b);
              kernels::gemm<Scalar>(bx.threads(), kernels::Layout::b_transposed, dw.view(),
                                    scaled(bx, a).view(), db, add);
            }
            if (pass.wants(a)) {
              const auto [da, add] = pass.target(a);
              kernels::gemm<Scalar>(bx.threads(), kernels::Layout::a_transposed,
                                    scaled(bx, b).view(), dw.view(), da, add);
            }
          }
          pass.add(weight, dsum);
        });
  }
  return sum;
}

}  // namespace eigenformer
