// Position-wise feed-forward network: down(activation(up(x))).
#pragma once

#include <string_view>

#include "eigenformer/nn/linear.hpp"

namespace eigenformer {

/// Sizes and activation of a FeedForward.
struct FeedForwardOptions {
  Index hidden = 0;                          ///< columns in and out
  Index intermediate = 0;                    ///< columns between
  Activation activation = Activation::gelu;  ///< between the two layers
};

/// Names of the two layers in a file.
struct FeedForwardNames {
  std::string_view up = "up";      ///< `[intermediate, hidden]`
  std::string_view down = "down";  ///< `[hidden, intermediate]`
};

/// `[..., hidden]` to `[..., hidden]` by way of `[..., intermediate]`.
template <class Scalar>
class FeedForward {
 public:
  /// Draws the weights of both layers.
  explicit FeedForward(const FeedForwardOptions& options, const Initializer& init = {})
      : up_(options.hidden, options.intermediate, init),
        down_(options.intermediate, options.hidden, init),
        activation_(options.activation) {}

  /// Throws ShapeError unless the last size of `x` is `hidden`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x) const {
    return down_(cx, up_(cx, x, activation_));
  }

  /// Packs for inference; the inputs come from `norm`, unless null.
  void pack(ThreadPool& threads, Precision precision, const LayerNorm<Scalar>* norm = nullptr) {
    up_.pack(threads, precision, norm);
    down_.pack(threads, precision);
  }

  /// Visits the layers up and down, under `names`.
  static void visit(auto& self, auto&& f, const FeedForwardNames& names = {}) {
    f(names.up, self.up_);
    f(names.down, self.down_);
  }

 private:
  Linear<Scalar> up_;
  Linear<Scalar> down_;
  Activation activation_;
};

}  // namespace eigenformer
