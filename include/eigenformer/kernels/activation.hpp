// Activations and their derivatives, element by element.
// GELU (arXiv:1606.08415) is x Phi(x); Phi through erfc keeps the negative tail accurate.
#pragma once

#include <cmath>
#include <numbers>
#include <type_traits>

#include "eigenformer/base/activation.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/scratch.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

namespace detail {

template <class Scalar>
inline constexpr Scalar sqrt_half = Scalar(1) / std::numbers::sqrt2_v<Scalar>;
/// sqrt(2 / pi)
template <class Scalar>
inline constexpr Scalar gelu_tanh_scale =
    std::numbers::sqrt2_v<Scalar>* std::numbers::inv_sqrtpi_v<Scalar>;
inline constexpr double gelu_tanh_cubic = 0.044715;

/// Calls use(f) with the function that the activation stands for, so that loops are not
/// interrupted by the choice. Each f has value(x) and slope(x) = value'(x).
template <class Scalar, class Use>
void with_activation(Activation activation, Use&& use) {
  struct Identity {
    static Scalar value(Scalar x) { return x; }
    static Scalar slope(Scalar) { return Scalar(1); }
  };
  struct Gelu {
    static Scalar normal_cdf(Scalar x) { return Scalar(0.5) * std::erfc(-x * sqrt_half<Scalar>); }
    static Scalar value(Scalar x) { return x * normal_cdf(x); }
    static Scalar slope(Scalar x) {
      const Scalar density =
          std::exp(Scalar(-0.5) * x * x) * std::numbers::inv_sqrtpi_v<Scalar> * sqrt_half<Scalar>;
      return normal_cdf(x) + x * density;
    }
  };
  struct GeluTanh {
    static Scalar bend(Scalar x) {
      return std::tanh(gelu_tanh_scale<Scalar> * (x + Scalar(gelu_tanh_cubic) * x * x * x));
    }
    static Scalar value(Scalar x) { return Scalar(0.5) * x * (Scalar(1) + bend(x)); }
    static Scalar slope(Scalar x) {
      const Scalar t = bend(x);
      const Scalar bent = Scalar(1) - t * t;
      if (bent == Scalar(0)) return Scalar(0.5) * (Scalar(1) + t);  // inner may be infinite
      const Scalar inner =
          gelu_tanh_scale<Scalar> * (Scalar(1) + Scalar(3 * gelu_tanh_cubic) * x * x);
      return Scalar(0.5) * (Scalar(1) + t + x * bent * inner);
    }
  };
  struct Relu {
    static Scalar value(Scalar x) { return x < Scalar(0) ? Scalar(0) : x; }  // keeps NaN
    static Scalar slope(Scalar x) { return x <= Scalar(0) ? Scalar(0) : Scalar(1); }
  };
  struct Silu {
    static Scalar value(Scalar x) { return x / (Scalar(1) + std::exp(-x)); }
    static Scalar slope(Scalar x) {
      const Scalar sigmoid = Scalar(1) / (Scalar(1) + std::exp(-x));
      return sigmoid * (Scalar(1) + x * (Scalar(1) - sigmoid));
    }
  };
  struct Tanh {
    static Scalar value(Scalar x) { return std::tanh(x); }
    static Scalar slope(Scalar x) {
      const Scalar t = std::tanh(x);
      return Scalar(1) - t * t;
    }
  };
  switch (activation) {
    case Activation::none: return use(Identity{});
    case Activation::gelu: return use(Gelu{});
    case Activation::gelu_tanh: return use(GeluTanh{});
    case Activation::relu: return use(Relu{});
    case Activation::silu: return use(Silu{});
    case Activation::tanh: return use(Tanh{});
  }
}

}  // namespace detail

/// y = f(x) for n numbers; y may be x.
template <class Scalar>
void activate(Activation activation, const Scalar* x, Scalar* y, Index n) noexcept {
  if (activation == Activation::none && x == y) return;
  if constexpr (std::is_same_v<Scalar, float>) {
    const Kernels& kernels = active_kernels();
    switch (activation) {
      case Activation::gelu: return kernels.gelu(x, y, n);
      case Activation::gelu_tanh: return kernels.gelu_tanh(x, y, n);
      case Activation::relu: return kernels.relu(x, y, n);
      case Activation::silu: return kernels.silu(x, y, n);
      case Activation::tanh: return kernels.tanh(x, y, n);
      default: break;
    }
  }
  detail::with_activation<Scalar>(activation, [&](auto f) {
    for (Index i = 0; i < n; ++i) y[i] = f.value(x[i]);
  });
}

/// The same, but either form of gelu within 2e-5, and to the digits of bfloat16 where it is larger
/// than 1e-3.
template <class Scalar>
void activate_approximately(Activation activation, const Scalar* x, Scalar* y, Index n) noexcept {
  if constexpr (std::is_same_v<Scalar, float>) {
    const Kernels& kernels = active_kernels();
    if (activation == Activation::gelu) return kernels.gelu_approx(x, y, n);
    if (activation == Activation::gelu_tanh) return kernels.gelu_tanh_approx(x, y, n);
  }
  activate(activation, x, y, n);
}

/// What an activation reads, `[m, n]`: numbers, or what a linear layer kept of them in bfloat16.
template <class Scalar>
struct ActivationInput {
  MatrixView<const Scalar> numbers = {};  ///< or empty
  /// `[m, rounded_words(n)]` of two bfloat16, or empty.
  MatrixView<const Word> rounded = {};

  /// Row i, of n numbers; there until the calling thread's next one.
  [[nodiscard]] const Scalar* row(Index i, Index n) const {
    if constexpr (std::is_same_v<Scalar, float>) {
      if (rounded.data != nullptr) {
        float* const x = detail::scratch<float, detail::Scratch::scaled_row>(n);
        active_kernels().float_row(rounded.row(i), n, x);
        return x;
      }
    }
    return numbers.row(i);
  }
};

/// y = f(x) for all rows; of rounded numbers to the digits of bfloat16.
template <class Scalar>
void activate_rows(ThreadPool& pool, Activation activation, const ActivationInput<Scalar>& x,
                   MatrixView<Scalar> y) {
  parallel_for(pool, y.rows, 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      if (x.rounded.data != nullptr)
        activate_approximately(activation, x.row(i, y.cols), y.row(i), y.cols);
      else
        activate(activation, x.row(i, y.cols), y.row(i), y.cols);
    }
  });
}

/// dx = f'(x) dy for n numbers; dx may be dy.
template <class Scalar>
void activate_backward(Activation activation, const Scalar* x, const Scalar* dy, Scalar* dx,
                       Index n) noexcept {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (activation == Activation::gelu) return active_kernels().gelu_backward(x, dy, dx, n);
  }
  detail::with_activation<Scalar>(activation, [&](auto f) {
    for (Index i = 0; i < n; ++i) dx[i] = f.slope(x[i]) * dy[i];
  });
}

/// The same for rows, on all threads.
template <class Scalar>
void activate_rows_backward(ThreadPool& pool, Activation activation,
                            const ActivationInput<Scalar>& x, MatrixView<const Scalar> dy,
                            MatrixView<Scalar> dx) {
  parallel_for(pool, dx.rows, 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      activate_backward(activation, x.row(i, dx.cols), dy.row(i), dx.row(i), dx.cols);
    }
  });
}

}  // namespace eigenformer::kernels
