// The update of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), and
// what other optimizers share with it. It is bound by memory: each number is read and written once.
// All sums and roots are the same wherever the numbers lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Updates the moving means by a gradient, on all threads; then value = keep value - rate
/// direction, or direction alone where `value` is null; all `[n]`.
template <class Scalar>
void adam(ThreadPool& pool, const AdamStep<Scalar>& step, const Scalar* gradient, Scalar* mean,
          Scalar* square, Scalar* value, Scalar* direction, Index n) {
  parallel_for(pool, n, Index{1} << 16, [&](Index begin, Index end) {
    const auto at = [&](Scalar* numbers) { return numbers == nullptr ? nullptr : numbers + begin; };
    if constexpr (std::is_same_v<Scalar, float>) {
      active_kernels().adam(step, gradient + begin, mean + begin, square + begin, at(value),
                            at(direction), end - begin);
    } else {
      for (Index i = begin; i < end; ++i) {
        const Scalar g = gradient[i] * step.gradient_scale;
        mean[i] = step.beta1 * mean[i] + (1 - step.beta1) * g;
        square[i] = step.beta2 * square[i] + (1 - step.beta2) * g * g;
        const Scalar u = mean[i] * step.mean_correction /
                         (std::sqrt(square[i] * step.square_correction) + step.eps);
        if (value != nullptr)
          value[i] = value[i] * step.keep - step.rate * u;
        else
          direction[i] = u;
      }
    }
  });
}

/// The sum of the squares of `[n]`, in double.
template <class Scalar>
[[nodiscard]] double sum_of_squares(const Scalar* x, Index n) noexcept {
  if constexpr (std::is_same_v<Scalar, float>) return active_kernels().sum_of_squares(x, n);
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace eigenformer::kernels
