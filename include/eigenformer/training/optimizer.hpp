// Optimizers: they change a model by its gradients and keep, under the parameters' names, the
// moving means of each gradient and of its square.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "eigenformer/kernels/adamw.hpp"
#include "eigenformer/training/gradients.hpp"

namespace eigenformer {

/// Whether weight decay acts on the parameter of a name: not on biases nor on the weights of norms.
/// Mirrors transformers' Trainer.
[[nodiscard]] inline bool decays_by_name(std::string_view name) {
  constexpr std::string_view norms[] = {"LayerNorm", "layer_norm", "ln_"};
  return !name.ends_with("bias") && std::ranges::none_of(norms, [&](std::string_view norm) {
    return name.find(norm) != name.npos;
  });
}

/// Rate factors for fine-tuning, in which what is nearer to the words changes less: 1 for a head,
/// `decay` for the last of `layers` layers, decay^2 for the one before it, ..., decay^(layers + 1)
/// for the embeddings. (Howard and Ruder, arXiv:1801.06146)
[[nodiscard]] inline std::function<double(std::string_view)> layerwise_rate(Index layers,
                                                                            double decay) {
  return [layers, decay](std::string_view name) {
    constexpr std::string_view before = "layer.";
    Index below = 0;  // modules between this one and the head, itself included
    if (name.find("embeddings.") != name.npos) below = layers + 1;
    if (const std::size_t at = name.find(before); at != name.npos) {
      Index layer = 0;
      std::from_chars(name.data() + at + before.size(), name.data() + name.size(), layer);
      below = layers - layer;
    }
    return std::pow(decay, static_cast<double>(below));
  };
}

/// What AdamW multiplies with; the defaults are PyTorch's.
struct AdamWOptions {
  double beta1 = 0.9;          ///< how much of the gradient's mean stays in each step
  double beta2 = 0.999;        ///< how much of its square's mean stays
  double eps = 1e-8;           ///< added to the root of the square's mean
  double weight_decay = 0.01;  ///< what each update takes off a weight, times the learning rate
  bool correct_bias = true;    ///< false: as BERT was trained
  /// Whether weight decay acts on the parameter of a name.
  std::function<bool(std::string_view)> decays = decays_by_name;
  /// What the learning rate is multiplied with for the parameter of a name; empty: 1.
  std::function<double(std::string_view)> rate_factor = {};
};

/// What an optimizer knows of one parameter, of the parameter's shape.
template <class Scalar>
struct Moments {
  Tensor<Scalar> mean;    ///< moving mean of the gradient
  Tensor<Scalar> square;  ///< moving mean of its square
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101). Mirrors
/// torch.optim.AdamW.
template <class Scalar>
class AdamW {
 public:
  /// Whether each number changes by its own gradient and moments alone.
  static constexpr bool by_element = true;
  /// By the parameters' names.
  using State = std::map<std::string, Moments<Scalar>, std::less<>>;

  /// Throws ConfigError for a beta outside [0, 1), a negative eps or decay.
  explicit AdamW(AdamWOptions options = {}) : options_(std::move(options)) {
    const auto within = [](const char* name, double value, double limit) {
      check<ConfigError>(value >= 0 && value < limit, "optimizer: ", name, " is ", value,
                         "; it must be in [0, ", limit, ")");
    };
    within("beta1", options_.beta1, 1);
    within("beta2", options_.beta2, 1);
    within("eps", options_.eps, 1);
    within("weight_decay", options_.weight_decay, 1e9);
  }

  /// One update of all parameters that have a gradient, which is first multiplied with
  /// `gradient_scale`. Parameters without one stay as they are.
  template <class Model>
  void step(Context& cx, Model& model, const Gradients<Scalar>& gradients, double learning_rate,
            double gradient_scale = 1) {
    begin_step();
    for_each_gradient(model, gradients, [&](const auto& named, const Tensor<Scalar>& gradient) {
      update(cx, named, gradient, learning_rate, gradient_scale);
    });
  }
  /// Begins an update that is done by update() for one name after the other.
  void begin_step() noexcept { ++steps_; }
  /// The update of what one name of a model stands for.
  template <class Named>
  void update(Context& cx, const Named& named, const Tensor<Scalar>& gradient, double learning_rate,
              double gradient_scale = 1) {
    kernels::AdamStep<Scalar> step = step_by(gradient_scale);
    Tensor<Scalar> value = named.value();
    Moments<Scalar>& moments = moments_of(named.name, value.shape());
    const double rate = rate_of(named.name, learning_rate);
    const double decay = options_.decays(named.name) ? options_.weight_decay : 0;
    step.rate = static_cast<Scalar>(rate);
    step.keep = static_cast<Scalar>(1 - rate * decay);
    kernels::adam<Scalar>(cx.threads(), step, gradient.data(), moments.mean.data(),
                          moments.square.data(), value.data(), nullptr, value.numel());
  }

  /// What it was made with.
  [[nodiscard]] const AdamWOptions& options() const noexcept { return options_; }
  /// How many updates there were.
  [[nodiscard]] Index steps() const noexcept { return steps_; }
  /// What is known of each parameter that had a gradient, by name.
  [[nodiscard]] const State& state() const noexcept { return state_; }
  /// Goes on where another optimizer was.
  void restore(Index steps, State state) {
    steps_ = steps;
    state_ = std::move(state);
  }

 protected:
  /// What this update multiplies with.
  [[nodiscard]] kernels::AdamStep<Scalar> step_by(double gradient_scale) const {
    const auto correction = [&](double beta) {
      return options_.correct_bias ? 1 / (1 - std::pow(beta, static_cast<double>(steps_))) : 1.0;
    };
    return {static_cast<Scalar>(gradient_scale),
            static_cast<Scalar>(options_.beta1),
            static_cast<Scalar>(options_.beta2),
            static_cast<Scalar>(correction(options_.beta1)),
            static_cast<Scalar>(correction(options_.beta2)),
            static_cast<Scalar>(options_.eps)};
  }
  /// The learning rate of one parameter.
  [[nodiscard]] double rate_of(std::string_view name, double learning_rate) const {
    return options_.rate_factor ? learning_rate * options_.rate_factor(name) : learning_rate;
  }
  /// What is known of one parameter, zeros at first. Throws ShapeError where it had another shape.
  [[nodiscard]] Moments<Scalar>& moments_of(std::string_view name, const Shape& shape) {
    const auto found = state_.find(name);
    if (found == state_.end()) {
      return state_
          .emplace(name,
                   Moments<Scalar>{Tensor<Scalar>::zeros(shape), Tensor<Scalar>::zeros(shape)})
          .first->second;
    }
    check<ShapeError>(found->second.mean.shape() == shape, "optimizer: '", name, "' is ", shape,
                      " but its state is ", found->second.mean.shape(),
                      "; an optimizer serves one model");
    return found->second;
  }

 private:
  AdamWOptions options_;
  Index steps_ = 0;
  State state_;
};

/// Adam whose step of each parameter is as long as the parameter, for large batches: rate |p| / |u|
/// for the direction u, decay included; where decay does not act the ratio is 1. (You et al.,
/// arXiv:1904.00962; as ALBERT was trained)
template <class Scalar>
class Lamb : public AdamW<Scalar> {
 public:
  using AdamW<Scalar>::AdamW;
  /// A number's step depends on the whole parameter.
  static constexpr bool by_element = false;

  /// As AdamW::step.
  template <class Model>
  void step(Context& cx, Model& model, const Gradients<Scalar>& gradients, double learning_rate,
            double gradient_scale = 1) {
    this->begin_step();
    for_each_gradient(model, gradients, [&](const auto& named, const Tensor<Scalar>& gradient) {
      update(cx, named, gradient, learning_rate, gradient_scale);
    });
  }
  /// As AdamW::update.
  template <class Named>
  void update(Context& cx, const Named& named, const Tensor<Scalar>& gradient, double learning_rate,
              double gradient_scale = 1) {
    Tensor<Scalar> value = named.value();
    Moments<Scalar>& moments = this->moments_of(named.name, value.shape());
    Tensor<Scalar> direction = cx.empty<Scalar>(value.shape());
    kernels::adam<Scalar>(cx.threads(), this->step_by(gradient_scale), gradient.data(),
                          moments.mean.data(), moments.square.data(), nullptr, direction.data(),
                          value.numel());
    double ratio = 1;
    if (this->options().decays(named.name)) {
      direction.array() += static_cast<Scalar>(this->options().weight_decay) * value.array();
      const double length = kernels::sum_of_squares(value.data(), value.numel());
      const double step_length = kernels::sum_of_squares(direction.data(), value.numel());
      if (length > 0 && step_length > 0) ratio = std::sqrt(length / step_length);
    }
    const double rate = this->rate_of(named.name, learning_rate) * ratio;
    value.array() -= static_cast<Scalar>(rate) * direction.array();
  }
};

}  // namespace eigenformer
