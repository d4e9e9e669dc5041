// The update of Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101). It is
// bound by memory: each number is read and written once, piece by piece in cache.
#pragma once

#include <algorithm>

#include <Eigen/Core>

#include "eigenformer/base/shape.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// What one update multiplies with; `mean` and `square` are the moving means of the gradient and of
/// its square.
template <class Scalar>
struct AdamWStep {
  Scalar gradient_scale = 1;     ///< the gradient is multiplied with it first
  Scalar beta1 = 0;              ///< how much of the old mean stays
  Scalar beta2 = 0;              ///< how much of the old square stays
  Scalar mean_correction = 1;    ///< 1 / (1 - beta1^t), or 1
  Scalar square_correction = 1;  ///< 1 / (1 - beta2^t), or 1
  Scalar eps = 0;                ///< added to the root of the corrected square
};

/// Updates the means by a gradient, all `[n]`.
template <class Scalar>
void update_means(const AdamWStep<Scalar>& step, const Scalar* gradient, Scalar* mean,
                  Scalar* square, Index n) noexcept {
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
  const auto g = Eigen::Map<const Array>(gradient, n) * step.gradient_scale;
  Eigen::Map<Array> m(mean, n);
  Eigen::Map<Array> v(square, n);
  m = step.beta1 * m + (1 - step.beta1) * g;
  v = step.beta2 * v + (1 - step.beta2) * g.square();
}

/// What Adam adds to the numbers, before the learning rate: `[n]`, as an Eigen expression.
template <class Scalar>
[[nodiscard]] auto adam_direction(const AdamWStep<Scalar>& step, const Scalar* mean,
                                  const Scalar* square, Index n) noexcept {
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
  return (Eigen::Map<const Array>(mean, n) * step.mean_correction) /
         ((Eigen::Map<const Array>(square, n) * step.square_correction).sqrt() + step.eps);
}

/// Calls f(first, count) for pieces of 0..n that stay in cache, on all threads.
template <class Function>
void for_each_piece(ThreadPool& pool, Index n, Function&& f) {
  constexpr Index piece = 2048;
  parallel_for(pool, n, 16 * piece, [&](Index begin, Index end) {
    for (Index first = begin; first < end; first += piece) f(first, std::min(piece, end - first));
  });
}

/// value -= rate (direction + decay value), after the means; all `[n]`. Mirrors torch.optim.AdamW.
template <class Scalar>
void adamw(ThreadPool& pool, const AdamWStep<Scalar>& step, Scalar rate, Scalar decay,
           const Scalar* gradient, Scalar* mean, Scalar* square, Scalar* value, Index n) {
  for_each_piece(pool, n, [&](Index first, Index count) {
    update_means(step, gradient + first, mean + first, square + first, count);
    Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>> p(value + first, count);
    p = p * (1 - rate * decay) - rate * adam_direction(step, mean + first, square + first, count);
  });
}

}  // namespace eigenformer::kernels
