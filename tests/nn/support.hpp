// What the tests of the modules share: PyTorch's numbers from a fixture, comparison.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/safetensors.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer::testing {

/// Column-major on purpose: Eigen's default, and not how tensors lie in memory.
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

/// A file of tests/fixtures/nn.
class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : file_(SafetensorsFile::open(std::string(EIGENFORMER_FIXTURES) + "/nn/" + name +
                                    ".safetensors")) {}

  template <class Scalar>
  [[nodiscard]] Tensor<Scalar> tensor(std::string_view name) const {
    Tensor<Scalar> result(file_.shape(name));
    file_.read(name, std::span(result.data(), static_cast<std::size_t>(result.numel())));
    return result;
  }
  template <class Scalar>
  [[nodiscard]] Matrix<Scalar> matrix(std::string_view name) const {
    return tensor<Scalar>(name).matrix();
  }
  [[nodiscard]] std::vector<std::uint8_t> mask(std::string_view name) const {
    std::vector<std::uint8_t> result(static_cast<std::size_t>(file_.info(name).numel()));
    file_.read(name, std::span(result));
    return result;
  }

  /// Gives every parameter of a module its numbers, found under "parameter.".
  template <class Module>
  void load(Module& module) const {
    for (const auto& named : named_parameters(module)) {
      auto value = named.value();
      using Scalar = std::remove_pointer_t<decltype(value.data())>;
      value.copy_from(tensor<Scalar>("parameter." + std::string(named.name)));
    }
  }

 private:
  SafetensorsFile file_;
};

/// Every number is within `tolerance` of `expected`, relative to the largest (at least 1).
template <class Scalar>
[[nodiscard]] ::testing::AssertionResult close(const Tensor<Scalar>& found,
                                               const Tensor<Scalar>& expected, double tolerance) {
  if (!(found.shape() == expected.shape())) {
    return ::testing::AssertionFailure()
           << found.shape().to_string() << " not " << expected.shape().to_string();
  }
  if (expected.numel() == 0) return ::testing::AssertionSuccess();
  const auto largest = std::max(1.0, static_cast<double>(expected.array().abs().maxCoeff()));
  const auto worst = static_cast<double>((found.array() - expected.array()).abs().maxCoeff());
  if (worst <= tolerance * largest) return ::testing::AssertionSuccess();  // never for NaN
  return ::testing::AssertionFailure() << "off by " << worst / largest;
}

/// PyTorch's float64 numbers are met to 1e-12 in double, to 1e-5 in float.
template <class Scalar>
inline constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-12 : 1e-5;

}  // namespace eigenformer::testing
