// Dropout (Srivastava et al., JMLR 2014): zero with probability p, else scaled by 1 / (1 - p).
// The pattern is a function of (seed, stream, position): the backward pass draws it again.
#pragma once

#include <algorithm>
#include <type_traits>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"

namespace eigenformer::kernels {

/// One dropout layer's draw: which stream of which random numbers, and how much to drop. A value
/// that refers to nothing: the backward pass may come when the generator is gone.
struct DropoutPattern {
  Rng rng{0};                ///< the generator's numbers
  std::uint64_t stream = 0;  ///< which of them this layer takes
  double probability = 0;    ///< 0: nothing is dropped

  /// Whether apply() changes anything.
  [[nodiscard]] bool drops() const noexcept { return probability > 0; }

  /// How the numbers at positions `region` * 2^32 and on are drawn.
  [[nodiscard]] DropoutDraw draw(std::uint64_t region) const noexcept {
    return {rng.bits(stream, region), static_cast<std::uint32_t>(probability * 0x1p32)};
  }

  /// y = x with some numbers dropped; `first` is the position of x[0] in the layer. y may be x.
  template <class Scalar>
  void apply(const Scalar* x, Scalar* y, Index n, Index first) const noexcept {
    const auto scale = static_cast<Scalar>(1.0 / (1.0 - probability));
    while (n > 0) {
      const DropoutDraw draws = draw(static_cast<std::uint64_t>(first) >> 32);
      const auto position = static_cast<std::uint32_t>(first);
      const Index count = std::min(n, (Index{1} << 32) - Index{position});
      if constexpr (std::is_same_v<Scalar, float>) {
        active_kernels().dropout(x, y, count, draws, position, scale);
      } else {
        for (Index i = 0; i < count; ++i) {
          const bool keep = draws.keeps(position + static_cast<std::uint32_t>(i));
          y[i] = keep ? x[i] * scale : Scalar(0);
        }
      }
      x += count, y += count, first += count, n -= count;
    }
  }
};

}  // namespace eigenformer::kernels
