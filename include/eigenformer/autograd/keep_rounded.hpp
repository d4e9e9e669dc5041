// What a backward pass in reduced precision keeps of its operands.
#pragma once

#include <type_traits>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/rounding.hpp"

namespace eigenformer::detail {

/// What the tape keeps of `x` for the products of a backward pass: in bfloat16 where these round
/// to it, unless it is computed again.
template <class Scalar>
[[nodiscard]] typename Tape<Scalar>::Kept keep_rounded(Context& cx, const Tape<Scalar>& tape,
                                                       const Tensor<Scalar>& x,
                                                       Precision precision) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (precision != Precision::full && !tape.recomputes(x)) {
      Tensor<kernels::Word> rounded = cx.empty<kernels::Word>(
          {x.row_count(), kernels::rounded_words(x.cols())});  // [rows, words]
      kernels::round_rows(cx.threads(), x.view(), rounded.view());
      return [rounded, shape = x.shape()](Context& bx) {
        Tensor<float> again = bx.empty<float>(shape);  // [..., columns]
        kernels::read_rounded_rows(bx.threads(), rounded.view(), again.view());
        return again;
      };
    }
  }
  return tape.keep(x);
}

}  // namespace eigenformer::detail
