// The float kernels of every instruction set that this machine has, against plain loops in double.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/isa/float_kernels.hpp"
#include "eigenformer/kernels/packing.hpp"

namespace ef = eigenformer;
namespace kernels = eigenformer::kernels;
using ef::Index;
using ef::Isa;

namespace {

std::vector<float> random(Index n, std::uint64_t stream, double scale = 1) {
  const ef::Rng rng(5);
  std::vector<float> numbers(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(scale * rng.normal(stream, i));
  }
  return numbers;
}

class EveryIsa : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ef::best_isa()) {
      GTEST_SKIP() << "this machine has no " << ef::name_of(GetParam());
    }
  }
  [[nodiscard]] const kernels::FloatKernels& k() const {
    return kernels::float_kernels(GetParam());
  }
};

/// Distance from the exact value in units of the last place of a float.
double ulps(double exact, float found) {
  if (exact == found) return 0;
  int exponent = 0;
  std::frexp(std::max(std::abs(exact), double(std::numeric_limits<float>::min())), &exponent);
  return std::abs(exact - double(found)) / std::ldexp(1.0, exponent - 24);
}

}  // namespace

TEST_P(EveryIsa, TilesOfEverySize) {
  const Index height = k().tile_rows;
  const Index width = k().tile_columns;
  for (const Index depth : {0, 1, 7, 64}) {
    const auto a = random(height * depth + 1, 1);
    const auto b = random(width * depth + 1, 2);
    const auto bias = random(width, 3);
    for (const Index rows : {Index{1}, height - 1, height}) {
      for (const Index columns : {Index{1}, width - 1, width}) {
        for (const bool accumulate : {false, true}) {
          const Index stride = columns + 3;
          auto c = random(rows * stride, 4);
          const auto before = c;
          k().gemm_tile(depth, a.data(), b.data(), c.data(), stride, rows, columns,
                        accumulate ? nullptr : bias.data(), accumulate, b.data(), 0);
          for (Index i = 0; i < rows; ++i) {
            for (Index j = 0; j < stride; ++j) {
              const auto at = static_cast<std::size_t>(i * stride + j);
              if (j >= columns) {
                EXPECT_EQ(c[at], before[at]) << "written outside the tile";
                continue;
              }
              double sum = accumulate ? before[at] : bias[static_cast<std::size_t>(j)];
              for (Index p = 0; p < depth; ++p) {
                sum += double(a[static_cast<std::size_t>(p * height + i)]) *
                       b[static_cast<std::size_t>(p * width + j)];
              }
              EXPECT_NEAR(c[at], sum, 2e-5);
            }
          }
        }
      }
    }
  }
}

TEST_P(EveryIsa, ActivationsAreAccurate) {
  struct Case {
    const char* name;
    void (*found)(const float*, float*, Index) noexcept;
    std::function<double(double)> exact;
    double most;  ///< ulps; the tanh form's exponent loses digits in its far tail
    double from;
  };
  const std::vector<Case> cases{
      {"gelu", k().gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }, 6, -13},
      {"gelu_tanh", k().gelu_tanh,
       [](double x) {
         return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       32, -5},
      {"silu", k().silu, [](double x) { return x / (1 + std::exp(-x)); }, 3, -80},
      {"relu", k().relu, [](double x) { return x < 0 ? 0 : x; }, 0, -80},
  };
  for (const Case& test : cases) {
    std::vector<float> x;
    for (double v = test.from; v < 20; v += 0.0037) x.push_back(static_cast<float>(v));
    std::vector<float> y(x.size());
    test.found(x.data(), y.data(), static_cast<Index>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(ulps(test.exact(x[i]), y[i]), test.most) << test.name << " at " << x[i];
    }
    // Rests of a vector, in place, and nothing beyond the end.
    for (Index n = 0; n < 35; ++n) {
      std::vector<float> rest(x.begin(), x.begin() + 36);
      test.found(rest.data(), rest.data(), n);
      for (Index i = 0; i < 36; ++i) {
        const auto at = static_cast<std::size_t>(i);
        EXPECT_EQ(rest[at], i < n ? y[at] : x[at]) << test.name;
      }
    }
  }
}

TEST_P(EveryIsa, SoftmaxOfEveryLength) {
  for (Index n = 1; n < 70; ++n) {
    auto x = random(n, 7, 3);
    if (n > 5) x[2] = std::numeric_limits<float>::lowest();  // a masked score
    std::vector<float> y(x.size());
    float top = 0;
    const float sum = k().softmax_row(x.data(), y.data(), n, &top);
    EXPECT_EQ(top, *std::max_element(x.begin(), x.end()));
    double exact = 0;
    for (const float v : x) exact += std::exp(double(v) - top);
    EXPECT_NEAR(sum / exact, 1, 1e-6);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], std::exp(double(x[i]) - top) / exact, 4e-7);
    }
    if (n > 5) {
      EXPECT_EQ(y[2], 0.0f);
    }
  }
}

TEST_P(EveryIsa, NormOfEveryLength) {
  for (Index n = 1; n < 70; ++n) {
    const auto x = random(n, 8);
    const auto gamma = random(n, 9);
    const auto beta = random(n, 10);
    std::vector<float> y(x.size());
    const float scale = k().norm_row(x.data(), gamma.data(), beta.data(), 1e-5f, y.data(), n);
    double mean = 0;
    for (const float v : x) mean += v / double(n);
    double variance = 0;
    for (const float v : x) variance += (v - mean) * (v - mean) / double(n);
    const double exact = 1 / std::sqrt(variance + 1e-5);
    EXPECT_NEAR(scale / exact, 1, 1e-5);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], (x[i] - mean) * exact * gamma[i] + beta[i], 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryIsa, testing::Values(Isa::scalar, Isa::avx2, Isa::avx512),
                         [](const auto& row) { return std::string(ef::name_of(row.param)); });

TEST(IsaNames, AreKnownOrRefused) {
  EXPECT_EQ(ef::isa_from_name("scalar"), Isa::scalar);
  EXPECT_EQ(ef::isa_from_name(ef::name_of(ef::best_isa())), ef::best_isa());
  EXPECT_THROW((void)ef::isa_from_name("mmx"), ef::ConfigError);
}
