// Elementary functions and activations of every instruction set that this machine has, against the
// standard library in double: on a sample of all floats, or with EIGENFORMER_EXHAUSTIVE=1 on each.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/kernels/isa/kernels.hpp"

namespace math_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Isa;
using ef::kernels::Kernels;

/// x p, where p = 0 wins against infinity.
double weighted(double x, double p) { return p == 0 ? 0 : x * p; }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return weighted(x, normal_cdf(x)); }
double gelu_tanh(double x) {
  const double z = std::sqrt(8 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return weighted(x, sigmoid(z));
}

struct Function {
  const char* name;
  void (*Kernels::*kernel)(const float* x, float* y, Index n) noexcept;
  double (*exact)(double);
  double ulps;          ///< allowed error in units in the last place
  double absolute = 0;  ///< allowed error, if not 0, instead
  double relative = 0;  ///< allowed as well, if not 0, of results above 1e-3
};
constexpr std::array functions{
    Function{"exp", &Kernels::exp, [](double x) { return std::exp(x); }, 2},
    Function{"erf", &Kernels::erf, [](double x) { return std::erf(x); }, 2},
    Function{"tanh", &Kernels::tanh, [](double x) { return std::tanh(x); }, 2},
    Function{"relu", &Kernels::relu, [](double x) { return x < 0 ? 0 : x; }, 0},
    Function{"gelu", &Kernels::gelu, gelu, 4.2},
    Function{"gelu_tanh", &Kernels::gelu_tanh, gelu_tanh, 4},
    Function{"silu", &Kernels::silu, [](double x) { return weighted(x, sigmoid(x)); }, 3},
    Function{"gelu_approx", &Kernels::gelu_approx, gelu, 0, 2e-5, 0x1p-10},
    Function{"gelu_tanh_approx", &Kernels::gelu_tanh_approx, gelu_tanh, 0, 2e-5, 0x1p-10},
};

/// |found - exact| as a part of what is allowed; overflow counts as 2^128.
double error_of(const Function& function, double exact, float found) {
  if (std::isnan(exact) || std::isnan(found))
    return std::isnan(exact) == std::isnan(found) ? 0 : 1e9;
  const auto bounded = [](double x) { return std::clamp(x, -0x1p128, 0x1p128); };
  const double error = std::abs(bounded(found) - bounded(exact));
  if (error == 0) return 0;
  const double size = std::clamp(std::abs(exact), 0x1p-126, 0x1.fp127);
  double allowed = function.ulps * std::ldexp(1.0, std::ilogb(size) - 23);
  if (function.absolute != 0) allowed = function.absolute;
  if (function.relative != 0 && size > 1e-3) allowed = std::min(allowed, function.relative * size);
  return allowed == 0 ? 1e9 : error / allowed;
}

bool exhaustive() {
  const char* wish = std::getenv("EIGENFORMER_EXHAUSTIVE");
  return wish != nullptr && std::string(wish) == "1";
}

std::vector<Isa> every_isa() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (isa <= ef::best_isa()) all.push_back(isa);
  }
  return all;
}

/// Calls `check(x)` with floats by the thousand: both zeros, infinities and NaNs, the powers of 2,
/// their neighbours, and all floats or a sample.
template <class Check>
void for_many_floats(const Check& check) {
  std::vector<float> x;
  const auto add = [&](std::uint32_t bits) {
    x.push_back(std::bit_cast<float>(bits));
    if (x.size() < 4096) return;
    check(x);
    x.clear();
  };
  for (std::uint32_t power = 0; power < 512; ++power) {
    for (const std::uint32_t near : {0u, 1u, ~0u}) add((power << 23) + near);
  }
  const std::uint64_t step = exhaustive() ? 1 : 4093;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += step) {
    add(static_cast<std::uint32_t>(bits));
  }
  check(x);
}

class EveryFunction : public testing::TestWithParam<Function> {};

TEST_P(EveryFunction, IsAccurate) {
  const Function& function = GetParam();
  const std::vector<Isa> isas = every_isa();
  std::vector<double> worst(isas.size());
  std::vector<float> at(isas.size());
  std::vector<double> exact;
  std::vector<float> y;
  for_many_floats([&](const std::vector<float>& x) {
    exact.resize(x.size());
    y.resize(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) exact[i] = function.exact(x[i]);
    for (std::size_t k = 0; k < isas.size(); ++k) {
      (ef::kernels::kernels_of(isas[k]).*function.kernel)(x.data(), y.data(), std::ssize(x));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = error_of(function, exact[i], y[i]);
        if (error <= worst[k]) continue;
        worst[k] = error;
        at[k] = x[i];
      }
    }
  });
  for (std::size_t k = 0; k < isas.size(); ++k) {
    EXPECT_LE(worst[k], 1) << ef::name_of(isas[k]) << " at " << at[k];
    if (!exhaustive()) continue;
    std::printf("%s, %s: %.3f of what is allowed at %.9g\n", function.name,
                std::string(ef::name_of(isas[k])).c_str(), worst[k], double(at[k]));
  }
}

TEST_P(EveryFunction, TakesRestsOfAVectorInPlace) {
  std::vector<float> x(36);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.3f * static_cast<float>(i) - 5;
  for (const Isa isa : every_isa()) {
    const auto kernel = ef::kernels::kernels_of(isa).*GetParam().kernel;
    std::vector<float> y(x.size());
    kernel(x.data(), y.data(), std::ssize(x));
    for (std::size_t n = 0; n < x.size(); ++n) {
      std::vector<float> rest = x;
      kernel(rest.data(), rest.data(), static_cast<Index>(n));
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(rest[i], i < n ? y[i] : x[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryFunction, testing::ValuesIn(functions),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Functions, KeepSignsOfZeroAndWholeValues) {
  for (const Isa isa : every_isa()) {
    const Kernels& k = ef::kernels::kernels_of(isa);
    for (const auto kernel :
         {k.erf, k.tanh, k.gelu, k.gelu_tanh, k.silu, k.gelu_approx, k.gelu_tanh_approx}) {
      float zeros[]{0.0f, -0.0f};
      kernel(zeros, zeros, 2);
      EXPECT_TRUE(zeros[0] == 0 && !std::signbit(zeros[0]));
      EXPECT_TRUE(zeros[1] == 0 && std::signbit(zeros[1]));
    }
    float x[]{0.0f, -std::numeric_limits<float>::infinity()};
    k.exp(x, x, 2);
    EXPECT_EQ(x[0], 1.0f);
    EXPECT_EQ(x[1], 0.0f);
    for (const auto kernel : {k.erf, k.tanh}) {
      float far[]{-10.0f, 10.0f};
      kernel(far, far, 2);
      EXPECT_EQ(far[0], -1.0f);
      EXPECT_EQ(far[1], 1.0f);
    }
    for (const auto kernel : {k.gelu, k.gelu_tanh, k.silu, k.gelu_approx, k.gelu_tanh_approx}) {
      float far[]{-1e30f, 1e30f};
      kernel(far, far, 2);
      EXPECT_EQ(far[0], 0.0f);
      EXPECT_EQ(far[1], 1e30f);
    }
  }
}

}  // namespace math_test
