// Reference of dropout: y[i] = x[i] / (1 - p) where the draw at position first + i is at least p,
// else 0.
#pragma once

#include "eigenformer/kernels/dropout.hpp"
#include "eigenformer/kernels/reference/wide.hpp"

namespace eigenformer::kernels::reference {

/// The factor of the number at `position`: 0, or 1 / (1 - p).
template <class Scalar>
[[nodiscard]] Wide<Scalar> dropout_factor(const DropoutPattern& pattern, Index position) {
  const bool keeps = pattern.draw(static_cast<std::uint64_t>(position) >> 32)
                         .keeps(static_cast<std::uint32_t>(position));
  return keeps ? 1 / (1 - Wide<Scalar>(pattern.probability)) : 0;
}

/// y = x with some numbers dropped, for n numbers from position `first` on; y may be x.
template <class Scalar>
void dropout(const DropoutPattern& pattern, const Scalar* x, Scalar* y, Index n, Index first) {
  for (Index i = 0; i < n; ++i) {
    y[i] = static_cast<Scalar>(x[i] * dropout_factor<Scalar>(pattern, first + i));
  }
}

}  // namespace eigenformer::kernels::reference
