// Learning rates over the course of a training: warm-up, then a decay. Mirrors
// transformers/optimization.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"

namespace eigenformer {

/// How the rate goes on after the warm-up.
enum class Decay {
  constant,    ///< stays at the peak
  linear,      ///< falls to 0 in a straight line
  cosine,      ///< falls to 0 along half a cosine
  polynomial,  ///< falls to `end` as a power of what remains
};

/// The decay of a name: constant, linear, cosine or polynomial. Throws ConfigError.
[[nodiscard]] inline Decay decay_from_name(std::string_view name) {
  if (name == "constant") return Decay::constant;
  if (name == "linear") return Decay::linear;
  if (name == "cosine") return Decay::cosine;
  if (name == "polynomial") return Decay::polynomial;
  fail<ConfigError>("schedule: '", name, "' is none of constant, linear, cosine, polynomial");
}

/// The learning rate of each update.
struct Schedule {
  Decay decay = Decay::linear;  ///< how it goes on after the warm-up
  double peak = 1e-4;           ///< after the warm-up
  Index warmup_steps = 0;       ///< over which the rate rises from 0 in a straight line
  Index total_steps = 0;        ///< at which the decay ends; a constant rate has no end
  double end = 0;               ///< where a polynomial decay goes to; transformers' default is 1e-7
  double power = 1;             ///< of a polynomial decay

  /// The rate of update `step`, from 0: the first update of a warm-up has rate 0.
  [[nodiscard]] double operator()(Index step) const {
    const auto at = static_cast<double>(step);
    const auto warmup = static_cast<double>(warmup_steps);
    if (step < warmup_steps) return peak * at / std::max(1.0, warmup);
    if (decay == Decay::constant) return peak;
    const double length = std::max(1.0, static_cast<double>(total_steps) - warmup);
    const double done = std::min(1.0, (at - warmup) / length);
    if (decay == Decay::linear) return peak * (1 - done);
    if (decay == Decay::cosine) return peak * 0.5 * (1 + std::cos(std::numbers::pi * done));
    return (peak - end) * std::pow(1 - done, power) + end;
  }
};

}  // namespace eigenformer
