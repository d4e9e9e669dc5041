// Dropout (Srivastava et al., JMLR 2014): zero with probability p, else scaled by 1 / (1 - p).
// The pattern is a function of (seed, stream, position): the backward pass draws it again.
#pragma once

#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/matrix_view.hpp"

namespace eigenformer::kernels {

/// One dropout layer's draw: which stream of which random numbers, and how much to drop. A value
/// that refers to nothing: the backward pass may come when the generator is gone.
struct DropoutPattern {
  Rng rng{0};
  std::uint64_t stream = 0;
  double probability = 0;  ///< 0: nothing is dropped

  [[nodiscard]] bool drops() const noexcept { return probability > 0; }

  /// y = x with some numbers dropped; `first` is the position of x[0] in the layer. y may be x.
  template <class Scalar>
  void apply(const Scalar* x, Scalar* y, Index n, Index first) const noexcept {
    const auto scale = static_cast<Scalar>(1.0 / (1.0 - probability));
    for (Index i = 0; i < n; ++i) {
      const bool keep = rng.uniform(stream, static_cast<std::uint64_t>(first + i)) >= probability;
      y[i] = keep ? x[i] * scale : Scalar(0);
    }
  }
};

}  // namespace eigenformer::kernels
