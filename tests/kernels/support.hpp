// What the tests of the kernels share: matrices with gaps between their rows, random numbers, and
// comparison. The gaps hold NaN: a kernel that reads them is found out by its results, one that
// writes them by the gaps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::testing {

inline double normal(std::uint64_t stream, Index position) {
  return Rng(2024).normal(stream, static_cast<std::uint64_t>(position));
}

/// Random numbers `[rows, cols]`, or one vector, with `gap` further numbers after each row.
template <class Scalar>
class Strided {
 public:
  Strided(Index rows, Index cols, std::uint64_t stream, Index gap = 3)
      : rows_(rows),
        cols_(cols),
        gap_(gap),
        numbers_(static_cast<std::size_t>(rows * (cols + gap) + 1),
                 std::numeric_limits<Scalar>::quiet_NaN()) {
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < cols; ++j) {
        view().row(i)[j] = static_cast<Scalar>(normal(stream, i * cols + j));
      }
    }
  }

  [[nodiscard]] MatrixView<Scalar> view() { return {data(), rows_, cols_, cols_ + gap_}; }
  [[nodiscard]] MatrixView<const Scalar> view() const {
    return {numbers_.data(), rows_, cols_, cols_ + gap_};
  }
  [[nodiscard]] Scalar* data() { return numbers_.data(); }
  [[nodiscard]] const Scalar* data() const { return numbers_.data(); }
  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index cols() const { return cols_; }

  [[nodiscard]] bool gaps_untouched() const {
    for (Index i = 0; i < rows_; ++i) {
      for (Index j = cols_; j < cols_ + gap_; ++j) {
        if (!std::isnan(view().row(i)[j])) return false;
      }
    }
    return std::isnan(numbers_.back());
  }

  /// The same bits, NaN included.
  [[nodiscard]] bool identical(const Strided& other) const {
    return numbers_.size() == other.numbers_.size() &&
           std::memcmp(data(), other.data(), numbers_.size() * sizeof(Scalar)) == 0;
  }

 private:
  Index rows_, cols_, gap_;
  std::vector<Scalar> numbers_;
};

/// Every number of `found` is within `epsilons` units of rounding of `expected`, relative to the
/// largest number (at least 1); NaN only where NaN is expected.
template <class Scalar>
[[nodiscard]] ::testing::AssertionResult close(const Strided<Scalar>& found,
                                               const Strided<Scalar>& expected,
                                               double epsilons = 64) {
  if (!found.gaps_untouched()) {
    return ::testing::AssertionFailure() << "a gap between rows was written to";
  }
  double largest = 1;
  for (Index i = 0; i < expected.rows(); ++i) {
    for (Index j = 0; j < expected.cols(); ++j) {
      const double size = std::abs(static_cast<double>(expected.view().row(i)[j]));
      if (std::isfinite(size)) largest = std::max(largest, size);
    }
  }
  const double allowed =
      epsilons * static_cast<double>(std::numeric_limits<Scalar>::epsilon()) * largest;
  for (Index i = 0; i < expected.rows(); ++i) {
    for (Index j = 0; j < expected.cols(); ++j) {
      const auto a = static_cast<double>(found.view().row(i)[j]);
      const auto b = static_cast<double>(expected.view().row(i)[j]);
      const bool same = a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= allowed;
      if (!same) {
        return ::testing::AssertionFailure()
               << "at (" << i << ", " << j << "): " << a << " not " << b << "; "
               << std::abs(a - b) / allowed * epsilons << " epsilons off";
      }
    }
  }
  return ::testing::AssertionSuccess();
}

/// Runs `compute(pool)` with pools of 1, 2 and 5 threads: the Strided that it returns must be the
/// same to the last bit.
template <class Compute>
void expect_same_for_any_pool(const Compute& compute) {
  ThreadPool one(1);
  const auto expected = compute(one);
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(compute(pool).identical(expected)) << threads << " threads";
    }
  }
}

inline constexpr int all_activations = 6;

}  // namespace eigenformer::testing
