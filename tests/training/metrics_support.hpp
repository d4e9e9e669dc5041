// Reading the fixtures of tests/oracle/metrics_fixtures.py, and comparing with them.
#pragma once

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "eigenformer/io/json.hpp"
#include "eigenformer/training/metrics/precision_recall.hpp"

namespace eigenformer::tests {

inline Json metrics_fixture(const std::string& name) {
  return read_json(EIGENFORMER_FIXTURES "/metrics/" + name + ".json");
}

/// null stands for NaN.
inline void expect_number(double number, const Json& expected, double tolerance) {
  if (expected.is_null()) {
    EXPECT_TRUE(std::isnan(number)) << number;
  } else {
    EXPECT_NEAR(number, expected.get<double>(), tolerance);
  }
}

inline void expect_scores(const PrecisionRecall& scores, const Json& expected) {
  expect_number(scores.precision, expected[0], 1e-15);
  expect_number(scores.recall, expected[1], 1e-15);
  expect_number(scores.f1, expected[2], 1e-15);
  if (expected.size() > 3) {
    EXPECT_EQ(scores.support, expected[3].get<Index>());
  }
}

template <class Class, class Name>
void expect_class_scores(const ClassScores<Class>& scores, const Json& expected, Name name) {
  expect_scores(scores.micro, expected["micro"]);
  expect_scores(scores.macro, expected["macro"]);
  expect_scores(scores.weighted, expected["weighted"]);
  EXPECT_EQ(scores.classes.size(), expected["classes"].size());
  Index support = 0;
  for (const auto& [key, one] : scores.classes) {
    SCOPED_TRACE(name(key));
    ASSERT_TRUE(expected["classes"].contains(name(key)));
    expect_scores(one, expected["classes"][name(key)]);
    support += one.support;
  }
  EXPECT_EQ(scores.micro.support, support);
  EXPECT_EQ(scores.macro.support, support);
  EXPECT_EQ(scores.weighted.support, support);
}

}  // namespace eigenformer::tests
