// The metrics of GLUE and of classification and regression at large, as scikit-learn and SciPy
// compute them in float64. Labels are class numbers; all functions take the predictions first.
//   CoLA: matthews_correlation; MRPC, QQP: accuracy_and_f1; STS-B: pearson_and_spearman;
//   MNLI, QNLI, RTE, SST-2, WNLI: accuracy.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/training/metrics/precision_recall.hpp"

namespace eigenformer {

/// What GLUE reports for MRPC and QQP.
struct AccuracyAndF1 {
  double accuracy = 0;  ///< of all examples, 0 to 1
  double f1 = 0;        ///< of class 1, 0 to 1
  double mean = 0;      ///< of the two: the task's score
};

/// What GLUE reports for STS-B.
struct PearsonAndSpearman {
  double pearson = 0;   ///< -1 to 1
  double spearman = 0;  ///< -1 to 1
  double mean = 0;      ///< of the two: the task's score
};

namespace detail {

inline void check_same_length(std::string_view metric, std::size_t predictions, std::size_t labels,
                              std::size_t least) {
  check<ShapeError>(predictions == labels, metric, ": ", predictions, " predictions but ", labels,
                    " labels; each example needs one of both");
  check<ShapeError>(labels >= least, metric, ": ", labels, " examples, but it takes at least ",
                    least);
}

/// Counts of every class that is predicted or in the labels.
[[nodiscard]] inline std::map<std::int32_t, ClassCounts> count_classes(
    std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels) {
  std::map<std::int32_t, ClassCounts> counts;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ++counts[predictions[i]].predicted;
    ++counts[labels[i]].labelled;
    if (predictions[i] == labels[i]) ++counts[labels[i]].correct;
  }
  return counts;
}

/// The values less their mean, divided by their length as a vector; scaled on the way, so that no
/// square overflows.
[[nodiscard]] inline std::vector<double> centred_direction(std::span<const double> values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  std::vector<double> direction(values.begin(), values.end());
  double largest = 0;
  for (double& value : direction) {
    value -= mean;
    largest = std::max(largest, std::abs(value));
  }
  double squares = 0;
  for (const double value : direction) squares += (value / largest) * (value / largest);
  for (double& value : direction) value /= largest * std::sqrt(squares);
  return direction;
}

/// Ranks from 1; equal values share the mean of theirs. No value may be NaN.
[[nodiscard]] inline std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double rank = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2;
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

}  // namespace detail

/// The share of predictions that equal their label. Throws ShapeError for different lengths or
/// none.
[[nodiscard]] inline double accuracy(std::span<const std::int32_t> predictions,
                                     std::span<const std::int32_t> labels) {
  detail::check_same_length("accuracy", predictions.size(), labels.size(), 1);
  Index correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) correct += predictions[i] == labels[i] ? 1 : 0;
  return detail::ratio(correct, static_cast<Index>(labels.size()));
}

/// Precision, recall and F1 of the class `positive` against all others; 0 where undefined.
/// Throws ShapeError for different lengths or none.
[[nodiscard]] inline PrecisionRecall binary_scores(std::span<const std::int32_t> predictions,
                                                   std::span<const std::int32_t> labels,
                                                   std::int32_t positive = 1) {
  detail::check_same_length("binary scores", predictions.size(), labels.size(), 1);
  return detail::precision_recall(detail::count_classes(predictions, labels)[positive]);
}

/// The scores of every class that is predicted or in the labels, and their averages: macro F1 is
/// `multiclass_scores(predictions, labels).macro.f1`. Throws ShapeError for different lengths or
/// none.
[[nodiscard]] inline ClassScores<std::int32_t> multiclass_scores(
    std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels) {
  detail::check_same_length("multiclass scores", predictions.size(), labels.size(), 1);
  return detail::class_scores(detail::count_classes(predictions, labels));
}

/// Matthews correlation coefficient, -1 to 1, of two or more classes (Gorodkin 2004); 0 where all
/// predictions or all labels are of one class. Throws ShapeError for different lengths or none.
[[nodiscard]] inline double matthews_correlation(std::span<const std::int32_t> predictions,
                                                 std::span<const std::int32_t> labels) {
  detail::check_same_length("Matthews correlation", predictions.size(), labels.size(), 1);
  const auto examples = static_cast<double>(labels.size());
  double correct = 0, both = 0, of_predictions = 0, of_labels = 0;
  for (const auto& [name, counts] : detail::count_classes(predictions, labels)) {
    const auto predicted = static_cast<double>(counts.predicted);
    const auto labelled = static_cast<double>(counts.labelled);
    correct += static_cast<double>(counts.correct);
    both += predicted * labelled;
    of_predictions += predicted * predicted;
    of_labels += labelled * labelled;
  }
  const double variances =
      (examples * examples - of_predictions) * (examples * examples - of_labels);
  return variances == 0 ? 0 : (correct * examples - both) / std::sqrt(variances);
}

/// Accuracy, F1 of class 1, and their mean. Throws ShapeError for different lengths or none.
[[nodiscard]] inline AccuracyAndF1 accuracy_and_f1(std::span<const std::int32_t> predictions,
                                                   std::span<const std::int32_t> labels) {
  const double of_all = accuracy(predictions, labels);
  const double f1 = binary_scores(predictions, labels).f1;
  return {.accuracy = of_all, .f1 = f1, .mean = (of_all + f1) / 2};
}

/// Pearson's correlation, -1 to 1; NaN, as SciPy has it, where all predictions or all labels are
/// equal or a number is not finite. Throws ShapeError for different lengths or fewer than 2.
[[nodiscard]] inline double pearson_correlation(std::span<const double> predictions,
                                                std::span<const double> labels) {
  detail::check_same_length("Pearson correlation", predictions.size(), labels.size(), 2);
  const auto constant = [](std::span<const double> values) {
    return std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; });
  };
  if (constant(predictions) || constant(labels)) return std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> x = detail::centred_direction(predictions);
  const std::vector<double> y = detail::centred_direction(labels);
  return std::clamp(std::inner_product(x.begin(), x.end(), y.begin(), 0.0), -1.0, 1.0);
}

/// Spearman's correlation: Pearson's of the ranks, where equal values share their mean rank; NaN
/// where all predictions or all labels are equal or one is NaN. Throws ShapeError for different
/// lengths or fewer than 2.
[[nodiscard]] inline double spearman_correlation(std::span<const double> predictions,
                                                 std::span<const double> labels) {
  detail::check_same_length("Spearman correlation", predictions.size(), labels.size(), 2);
  for (const std::span<const double> values : {predictions, labels}) {
    for (const double value : values) {
      if (std::isnan(value)) return value;
    }
  }
  return pearson_correlation(detail::average_ranks(predictions), detail::average_ranks(labels));
}

/// Both correlations and their mean. Throws ShapeError for different lengths or fewer than 2.
[[nodiscard]] inline PearsonAndSpearman pearson_and_spearman(std::span<const double> predictions,
                                                             std::span<const double> labels) {
  const double pearson = pearson_correlation(predictions, labels);
  const double spearman = spearman_correlation(predictions, labels);
  return {.pearson = pearson, .spearman = spearman, .mean = (pearson + spearman) / 2};
}

}  // namespace eigenformer
