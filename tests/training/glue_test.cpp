// Classification and regression metrics against scikit-learn and SciPy, through the fixtures that
// tests/oracle/metrics_fixtures.py made.
#include "eigenformer/training/metrics/glue.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "metrics_support.hpp"

namespace eigenformer::glue_test {
using tests::expect_scores;

using Labels = std::vector<std::int32_t>;
using Numbers = std::vector<double>;

TEST(ClassificationMetrics, AsScikitLearn) {
  const Json cases = tests::metrics_fixture("classification");
  ASSERT_GT(cases.size(), 240U);
  std::size_t binary = 0;
  for (const Json& expected : cases) {
    SCOPED_TRACE(expected.dump());
    const Labels predictions = expected["predictions"], labels = expected["labels"];
    EXPECT_NEAR(accuracy(predictions, labels), expected["accuracy"], 1e-15);
    EXPECT_NEAR(matthews_correlation(predictions, labels), expected["matthews"], 1e-14);
    tests::expect_class_scores(multiclass_scores(predictions, labels), expected,
                               [](std::int32_t name) { return std::to_string(name); });
    if (!expected.contains("binary")) continue;
    ++binary;
    expect_scores(binary_scores(predictions, labels), expected["binary"]);
    const AccuracyAndF1 both = accuracy_and_f1(predictions, labels);
    EXPECT_NEAR(both.accuracy, expected["accuracy_and_f1"][0], 1e-15);
    EXPECT_NEAR(both.f1, expected["accuracy_and_f1"][1], 1e-15);
    EXPECT_NEAR(both.mean, expected["accuracy_and_f1"][2], 1e-15);
  }
  EXPECT_GT(binary, 100U);
}

TEST(ClassificationMetrics, PositiveClass) {
  const PrecisionRecall scores = binary_scores(Labels{2, 2, 0, 1}, Labels{2, 0, 2, 2}, 2);
  EXPECT_DOUBLE_EQ(scores.precision, 1.0 / 2);
  EXPECT_DOUBLE_EQ(scores.recall, 1.0 / 3);
  EXPECT_DOUBLE_EQ(scores.f1, 2.0 / 5);
  EXPECT_EQ(scores.support, 3);
}

TEST(RegressionMetrics, AsSciPy) {
  const Json cases = tests::metrics_fixture("regression");
  ASSERT_GT(cases.size(), 200U);
  for (const Json& expected : cases) {
    SCOPED_TRACE(expected.dump());
    const Numbers predictions = expected["predictions"], labels = expected["labels"];
    tests::expect_number(pearson_correlation(predictions, labels), expected["pearson"], 1e-14);
    tests::expect_number(spearman_correlation(predictions, labels), expected["spearman"], 1e-14);
    const PearsonAndSpearman both = pearson_and_spearman(predictions, labels);
    if (expected["spearman"].is_null()) {
      EXPECT_TRUE(std::isnan(both.mean));
    } else {
      EXPECT_EQ(both.mean, (both.pearson + both.spearman) / 2);
    }
  }
}

TEST(RegressionMetrics, ManyExamplesWithTies) {
  Numbers labels, predictions, reversed;
  for (int i = 0; i < 200'000; ++i) {
    labels.push_back(i % 501);
    predictions.push_back(std::exp(0.01 * (i % 501)));
    reversed.push_back(-predictions.back());
  }
  EXPECT_NEAR(spearman_correlation(predictions, labels), 1, 1e-12);
  EXPECT_NEAR(spearman_correlation(reversed, labels), -1, 1e-12);
  EXPECT_NEAR(pearson_correlation(labels, labels), 1, 1e-12);
}

TEST(RegressionMetrics, NotANumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const Numbers labels{1, 2, 4};
  for (const double bad : {nan, infinity}) {
    EXPECT_TRUE(std::isnan(pearson_correlation(Numbers{1, bad, 2}, labels)));
  }
  EXPECT_TRUE(std::isnan(spearman_correlation(Numbers{1, nan, 2}, labels)));
  EXPECT_TRUE(std::isnan(spearman_correlation(labels, Numbers{1, nan, 2})));
  EXPECT_DOUBLE_EQ(spearman_correlation(Numbers{1, infinity, 2}, labels), 0.5);
}

TEST(GlueMetrics, RefuseLengthsThatDiffer) {
  const Labels one{1}, two{1, 0}, none;
  EXPECT_THROW((void)accuracy(one, two), ShapeError);
  EXPECT_THROW((void)accuracy(none, none), ShapeError);
  EXPECT_THROW((void)binary_scores(two, one), ShapeError);
  EXPECT_THROW((void)binary_scores(none, none), ShapeError);
  EXPECT_THROW((void)multiclass_scores(two, one), ShapeError);
  EXPECT_THROW((void)multiclass_scores(none, none), ShapeError);
  EXPECT_THROW((void)matthews_correlation(two, one), ShapeError);
  EXPECT_THROW((void)matthews_correlation(none, none), ShapeError);
  EXPECT_THROW((void)pearson_correlation(Numbers{1, 2}, Numbers{1}), ShapeError);
  EXPECT_THROW((void)spearman_correlation(Numbers{1}, Numbers{1}), ShapeError);
  EXPECT_EQ(tests::message_of<ShapeError>([&] { (void)accuracy_and_f1(one, two); }),
            "accuracy: 1 predictions but 2 labels; each example needs one of both");
}

}  // namespace eigenformer::glue_test
