// Losses, each one number of rank 0: cross entropy, mean squared error, binary cross entropy.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/loss.hpp"

namespace eigenformer {

/// Options of cross_entropy, with PyTorch's defaults.
struct CrossEntropyOptions {
  TokenId ignore_index = -100;             ///< rows with this label do not count
  double label_smoothing = 0;              ///< share of the target that is spread over all classes
  std::vector<double> class_weights = {};  ///< `[classes]`; empty: all 1
};

/// The mean over the rows that count of -log softmax(logits)[label], weighted by the labels' class
/// weights: `logits` `[n, classes]`, `labels` `[n]`. Throws ShapeError for a label outside the
/// classes, and when no row counts: the mean over none is undefined. Mirrors
/// torch.nn.functional.cross_entropy.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> cross_entropy(Context& cx, const Tensor<Scalar>& logits,
                                           std::span<const TokenId> labels,
                                           const CrossEntropyOptions& options = {}) {
  check<ShapeError>(logits.rank() == 2 && static_cast<Index>(labels.size()) == logits.size(0),
                    "cross_entropy: logits are ", logits.shape(), " ([n, classes]) but there are ",
                    labels.size(), " labels");
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1,
        "cross_entropy: label smoothing ", options.label_smoothing, " is outside [0, 1]");
  const std::vector<Scalar> weights(options.class_weights.begin(), options.class_weights.end());
  check<ShapeError>(weights.empty() || static_cast<Index>(weights.size()) == logits.cols(),
                    "cross_entropy: ", weights.size(), " class weights for ", logits.cols(),
                    " classes");
  const kernels::CrossEntropyTarget<Scalar> target{
      labels, options.ignore_index, static_cast<Scalar>(options.label_smoothing), weights};
  Scalar counted = 0;  // the sum of the weights of the labels that count
  for (const TokenId label : labels) {
    if (label == options.ignore_index) continue;
    check<ShapeError>(label >= 0 && label < logits.cols(), "cross_entropy: label ", label,
                      " is outside the ", logits.cols(), " classes");
    counted += target.weight(label);
  }
  check<ShapeError>(counted > 0, "cross_entropy: all ", labels.size(),
                    " labels are ignore_index, or of weight 0; the mean over none is undefined");
  Tensor<Scalar> losses = cx.empty<Scalar>({logits.size(0)});  // [n]
  kernels::cross_entropy_forward<Scalar>(cx.threads(), logits.view(), target, losses.data());
  Tensor<Scalar> loss = cx.empty<Scalar>({});
  loss.fill(losses.array().sum() / counted);
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, logits)) {
    tape->record(cx, loss,
                 [logits, counted, target, weights,
                  kept = std::vector<TokenId>(labels.begin(), labels.end())](
                     auto& pass, const Tensor<Scalar>& dloss) {
                   kernels::CrossEntropyTarget<Scalar> again = target;
                   again.labels = kept;
                   again.weights = weights;
                   Tensor<Scalar> dlogits = pass.reuse(logits);  // [n, classes]
                   kernels::cross_entropy_backward<Scalar>(pass.context().threads(), logits.view(),
                                                           again, dloss.item() / counted,
                                                           dlogits.view());
                   pass.add(logits, std::move(dlogits));
                 });
  }
  return loss;
}

/// The mean of (prediction - target)^2 over all numbers; targets are constants. Throws ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> mean_squared_error(Context& cx, const Tensor<Scalar>& prediction,
                                                const Tensor<Scalar>& target) {
  check<ShapeError>(prediction.shape() == target.shape() && prediction.numel() > 0,
                    "mean_squared_error: the shapes ", prediction.shape(), " and ", target.shape(),
                    " differ or hold no numbers");
  require_untracked<Scalar>(cx, "the target of mean_squared_error", target);
  Tensor<Scalar> loss = cx.empty<Scalar>({});
  loss.fill((prediction.array() - target.array()).square().mean());
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, prediction)) {
    tape->record(cx, loss, [prediction, target](auto& pass, const Tensor<Scalar>& dloss) {
      const Scalar factor = 2 * dloss.item() / static_cast<Scalar>(prediction.numel());
      Tensor<Scalar> d = pass.context().template empty<Scalar>(prediction.shape());
      d.array() = (prediction.array() - target.array()) * factor;
      pass.add(prediction, std::move(d));
    });
  }
  return loss;
}

/// The mean of -(t log sigmoid(x) + (1 - t) log sigmoid(-x)) over all numbers; targets in [0, 1]
/// are constants. Throws ShapeError. Mirrors torch.nn.BCEWithLogitsLoss.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> binary_cross_entropy(Context& cx, const Tensor<Scalar>& logits,
                                                  const Tensor<Scalar>& target) {
  check<ShapeError>(logits.shape() == target.shape() && logits.numel() > 0,
                    "binary_cross_entropy: the shapes ", logits.shape(), " and ", target.shape(),
                    " differ or hold no numbers");
  require_untracked<Scalar>(cx, "the target of binary_cross_entropy", target);
  const auto x = logits.array();
  Tensor<Scalar> loss = cx.empty<Scalar>({});
  // max(x, 0) - x t + log(1 + exp(-|x|)) does not overflow.
  loss.fill((x.max(Scalar(0)) - x * target.array() + (-x.abs()).exp().log1p()).mean());
  if (Tape<Scalar>* tape = tracking<Scalar>(cx, logits)) {
    tape->record(cx, loss, [logits, target](auto& pass, const Tensor<Scalar>& dloss) {
      const Scalar factor = dloss.item() / static_cast<Scalar>(logits.numel());
      Tensor<Scalar> d = pass.context().template empty<Scalar>(logits.shape());
      d.array() = ((Scalar(1) + (-logits.array()).exp()).inverse() - target.array()) * factor;
      pass.add(logits, std::move(d));
    });
  }
  return loss;
}

}  // namespace eigenformer
