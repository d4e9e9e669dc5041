// gradcheck: the tape's gradients against central differences.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "eigenformer/autograd/tape.hpp"

namespace eigenformer {

/// The largest difference between the tape's gradient of `function` and central differences,
/// relative to the largest gradient (at least 1). `function(cx, inputs)` maps a vector of tensors
/// to one number and must be the same at every call.
template <class Function>
[[nodiscard]] double gradcheck(Context& cx, Function&& function, std::vector<Tensor<double>> inputs,
                               double step = 1e-5) {
  Tape<double> tape;
  std::vector<Tensor<double>> watched;
  for (const Tensor<double>& input : inputs) watched.push_back(tape.watch(input));
  TapeBase* outer = std::exchange(cx.tape, &tape);
  const Tensor<double> loss = function(cx, watched);
  cx.tape = nullptr;
  const Gradients<double> gradients = tape.backward(loss);
  double largest = 1;
  double worst = 0;
  for (Tensor<double>& input : inputs) {
    const Tensor<double>& gradient = gradients[input];
    for (Index i = 0; i < input.numel(); ++i) {
      const double kept = input.data()[i];
      input.data()[i] = kept + step;
      const double above = function(cx, inputs).item();
      input.data()[i] = kept - step;
      const double below = function(cx, inputs).item();
      input.data()[i] = kept;
      const double expected = (above - below) / (2 * step);
      const double found = gradient.clone().data()[i];
      largest = std::max(largest, std::abs(expected));
      worst = std::max(worst, std::abs(found - expected));
    }
  }
  cx.tape = outer;
  return worst / largest;
}

}  // namespace eigenformer
