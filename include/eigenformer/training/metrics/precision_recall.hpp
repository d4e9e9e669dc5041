// Precision, recall and F1 from counts, and their averages over classes, as scikit-learn and
// seqeval define them: what would be divided by zero is 0.
#pragma once

#include <map>

#include "eigenformer/base/shape.hpp"

namespace eigenformer {

/// Precision, recall and F1 (their harmonic mean), each 0 to 1.
struct PrecisionRecall {
  double precision = 0;  ///< correct predictions of the class among all of it
  double recall = 0;     ///< correct predictions of the class among its labels
  double f1 = 0;         ///< 2 precision recall / (precision + recall)
  Index support = 0;     ///< how often the class is in the labels
};

/// The scores of each class, and their averages.
template <class Class>
struct ClassScores {
  PrecisionRecall micro;     ///< of all classes' counts added up
  PrecisionRecall macro;     ///< the plain mean over the classes; NaN where there are none
  PrecisionRecall weighted;  ///< the mean weighted by support
  std::map<Class, PrecisionRecall> classes;  ///< those that are predicted or in the labels
};

namespace detail {

/// How often a class was predicted, how often it is in the labels, and how often it is in both.
struct ClassCounts {
  Index correct = 0;
  Index predicted = 0;
  Index labelled = 0;
};

[[nodiscard]] inline double ratio(Index part, Index whole) noexcept {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

[[nodiscard]] inline PrecisionRecall precision_recall(const ClassCounts& counts) noexcept {
  return {.precision = ratio(counts.correct, counts.predicted),
          .recall = ratio(counts.correct, counts.labelled),
          .f1 = ratio(2 * counts.correct, counts.predicted + counts.labelled),
          .support = counts.labelled};
}

/// The mean over the classes, each counted `weight(scores)` times; NaN where that sums to nothing.
template <class Class, class Weight>
[[nodiscard]] PrecisionRecall weighted_mean(const std::map<Class, PrecisionRecall>& classes,
                                            Weight weight) {
  PrecisionRecall mean;
  double total = 0;
  for (const auto& [name, scores] : classes) {
    const double times = weight(scores);
    mean.precision += times * scores.precision;
    mean.recall += times * scores.recall;
    mean.f1 += times * scores.f1;
    mean.support += scores.support;
    total += times;
  }
  mean.precision /= total;
  mean.recall /= total;
  mean.f1 /= total;
  return mean;
}

template <class Class>
[[nodiscard]] ClassScores<Class> class_scores(const std::map<Class, ClassCounts>& counts) {
  ClassScores<Class> scores;
  ClassCounts sum;
  for (const auto& [name, of_class] : counts) {
    scores.classes[name] = precision_recall(of_class);
    sum.correct += of_class.correct;
    sum.predicted += of_class.predicted;
    sum.labelled += of_class.labelled;
  }
  scores.micro = precision_recall(sum);
  scores.macro = weighted_mean(scores.classes, [](const PrecisionRecall&) { return 1.0; });
  if (sum.labelled > 0) {
    scores.weighted = weighted_mean(scores.classes, [](const PrecisionRecall& one) {
      return static_cast<double>(one.support);
    });
  }
  return scores;
}

}  // namespace detail
}  // namespace eigenformer
