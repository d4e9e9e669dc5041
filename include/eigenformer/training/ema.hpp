// An exponential moving average of a model's weights, which often does better than the weights of
// the last update (Polyak and Juditsky 1992; Tarvainen and Valpola, arXiv:1703.01780).
// Mirrors torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// A model of its own that follows another: average = decay average + (1 - decay) weights after
/// each update. `Model` is any module.
template <class Scalar, class Model>
class MovingAverage {
 public:
  /// Begins with these weights. Throws ConfigError for a decay outside [0, 1).
  MovingAverage(Model model, double decay) : model_(std::move(model)), decay_(decay) {
    check<ConfigError>(decay >= 0 && decay < 1, "moving average: decay is ", decay,
                       "; it must be in [0, 1)");
  }

  /// To be called after update `step`, from 0, of `model`, which has the same parameters. What the
  /// first one gives is copied: the weights before it are not part of the average.
  void update(const Model& model, Index step) {
    std::vector<Tensor<Scalar>> weights;
    for (const auto& named : named_parameters(model)) weights.push_back(named.value());
    std::size_t i = 0;
    for (const auto& named : named_parameters(model_)) {
      const Tensor<Scalar>& weight = weights[i++];
      if (named.tied) continue;
      Tensor<Scalar> average = named.value();
      if (step == 0)
        average.copy_from(weight);
      else
        average.array() += static_cast<Scalar>(1 - decay_) * (weight.array() - average.array());
    }
  }

  /// The averaged weights.
  [[nodiscard]] const Model& model() const noexcept { return model_; }

 private:
  Model model_;
  double decay_;
};

}  // namespace eigenformer
