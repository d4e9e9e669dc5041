// Products against their reference, at sizes around the tiles' borders.
#include "eigenformer/kernels/gemm.hpp"

#include <algorithm>
#include <bit>

#include "eigenformer/base/dtype.hpp"
#include "eigenformer/kernels/reference/gemm.hpp"

#include "support.hpp"

namespace gemm_test {

namespace ef = eigenformer;
namespace kernels = ef::kernels;
namespace reference = ef::kernels::reference;
using ef::Index;
using ef::testing::close;
using ef::testing::Strided;
using kernels::Layout;

struct Sizes {
  Index m, n, k;
};
// The last but one has more than 16 tiles' worth of columns, the last more than one cache block.
constexpr Sizes sizes[] = {{0, 3, 2},   {3, 0, 2},      {3, 2, 0},    {0, 0, 0},     {1, 1, 1},
                           {2, 3, 5},   {7, 11, 13},    {64, 64, 64}, {65, 67, 63},  {1, 129, 300},
                           {130, 1, 8}, {130, 131, 37}, {5, 1040, 7}, {33, 130, 521}};

template <class Scalar>
Strided<Scalar> left(Layout layout, const Sizes& s) {
  return layout == Layout::a_transposed ? Strided<Scalar>(s.k, s.m, 1)
                                        : Strided<Scalar>(s.m, s.k, 1);
}
template <class Scalar>
Strided<Scalar> right(Layout layout, const Sizes& s) {
  return layout == Layout::b_transposed ? Strided<Scalar>(s.n, s.k, 2)
                                        : Strided<Scalar>(s.k, s.n, 2);
}

template <class Scalar>
class Gemm : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Scalars);

TYPED_TEST(Gemm, EveryLayout) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Layout layout : {Layout::plain, Layout::a_transposed, Layout::b_transposed}) {
    for (const Sizes& s : sizes) {
      const auto a = left<Scalar>(layout, s);
      const auto b = right<Scalar>(layout, s);
      for (const bool accumulate : {false, true}) {
        Strided<Scalar> found(s.m, s.n, 3);
        Strided<Scalar> expected(s.m, s.n, 3);
        kernels::gemm<Scalar>(pool, layout, a.view(), b.view(), found.view(), accumulate);
        reference::gemm<Scalar>(layout, a.view(), b.view(), expected.view(), accumulate);
        EXPECT_TRUE(close(found, expected)) << s.m << ' ' << s.n << ' ' << s.k << " layout "
                                            << static_cast<int>(layout) << ' ' << accumulate;
      }
    }
  }
}

Strided<float> rounded(Strided<float> x) {
  for (Index i = 0; i < x.rows(); ++i) {
    for (Index j = 0; j < x.cols(); ++j) {
      float& number = x.view().row(i)[j];
      number = static_cast<float>(ef::BFloat16(number));
    }
  }
  return x;
}

TEST(GemmInBFloat16, IsTheProductOfTheNearestNumbers) {
  ef::ThreadPool pool(2);
  for (const Layout layout : {Layout::plain, Layout::a_transposed, Layout::b_transposed}) {
    for (const Sizes& s : sizes) {
      auto a = left<float>(layout, s);
      auto b = right<float>(layout, s);
      for (const bool accumulate : {false, true}) {
        Strided<float> found(s.m, s.n, 3);
        Strided<float> expected(s.m, s.n, 3);
        kernels::gemm<float>(pool, layout, a.view(), b.view(), found.view(), accumulate,
                             ef::Precision::bf16);
        reference::gemm<float>(layout, rounded(a).view(), rounded(b).view(), expected.view(),
                               accumulate);
        EXPECT_TRUE(close(found, expected)) << s.m << ' ' << s.n << ' ' << s.k << " layout "
                                            << static_cast<int>(layout) << ' ' << accumulate;
      }
    }
  }
}

// Sizes at which there are several blocks of rows, several times as many panels as a cache keeps,
// and several pieces of each sum, whatever the arithmetic.
constexpr Sizes several_blocks{150, 400, 1700};

TEST(GemmOfFloats, BlocksOfRowsAndPanelsMeet) {
  const Sizes& s = several_blocks;
  for (const ef::Precision precision : {ef::Precision::full, ef::Precision::bf16}) {
    for (const Layout layout : {Layout::plain, Layout::a_transposed, Layout::b_transposed}) {
      const auto a = left<float>(layout, s);
      const auto b = right<float>(layout, s);
      const auto numbers = [&](const Strided<float>& x, bool transposed) {
        const Strided<float> read = precision == ef::Precision::full ? x : rounded(x);
        const Eigen::Map<const Eigen::Matrix<float, -1, -1, Eigen::RowMajor>, 0,
                         Eigen::OuterStride<>>
            map(read.data(), x.rows(), x.cols(), Eigen::OuterStride<>(read.view().stride));
        const Eigen::MatrixXd exact = map.cast<double>();
        return transposed ? Eigen::MatrixXd(exact.transpose()) : exact;
      };
      const Eigen::MatrixXd product =
          numbers(a, layout == Layout::a_transposed) * numbers(b, layout == Layout::b_transposed);
      Strided<float> expected(s.m, s.n, 3);
      for (Index i = 0; i < s.m; ++i) {
        for (Index j = 0; j < s.n; ++j) {
          expected.view().row(i)[j] += static_cast<float>(product(i, j));
        }
      }
      ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
        Strided<float> found(s.m, s.n, 3);
        kernels::gemm<float>(pool, layout, a.view(), b.view(), found.view(), true, precision);
        EXPECT_TRUE(close(found, expected))
            << ef::name_of(precision) << " layout " << static_cast<int>(layout);
        return found;
      });
    }
  }
}

TYPED_TEST(Gemm, WithoutAccumulateOldNumbersDoNotMatter) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Strided<Scalar> a(3, 4, 1);
  const Strided<Scalar> b(4, 5, 2);
  Strided<Scalar> found(3, 5, 3);
  for (Index i = 0; i < 3; ++i) {
    std::fill_n(found.view().row(i), 5, std::numeric_limits<Scalar>::quiet_NaN());
  }
  Strided<Scalar> expected(3, 5, 3);
  kernels::gemm<Scalar>(pool, Layout::plain, a.view(), b.view(), found.view());
  reference::gemm<Scalar>(Layout::plain, a.view(), b.view(), expected.view());
  EXPECT_TRUE(close(found, expected));
}

/// 3072 products that are added one after the other would be 9e-7 apart.
TEST(GemmOfFloats, LongSumsRoundLittle) {
  ef::ThreadPool pool(1);
  const Sizes s{20, 50, 3072};
  const auto a = left<float>(Layout::b_transposed, s);
  const auto b = right<float>(Layout::b_transposed, s);
  Strided<float> found(s.m, s.n, 3);
  kernels::gemm<float>(pool, Layout::b_transposed, a.view(), b.view(), found.view());
  double error = 0, size = 0;
  for (Index i = 0; i < s.m; ++i) {
    for (Index j = 0; j < s.n; ++j) {
      double exact = 0;
      for (Index p = 0; p < s.k; ++p) exact += double{a.view().row(i)[p]} * b.view().row(j)[p];
      error += std::abs(found.view().row(i)[j] - exact);
      size += std::abs(exact);
    }
  }
  EXPECT_LT(error / size, 5e-7);
}

TYPED_TEST(Gemm, NaNAndInfinityStayInTheirRowAndColumn) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const auto number = [](Scalar x) { return std::isfinite(x); };
  for (const Layout layout : {Layout::plain, Layout::a_transposed, Layout::b_transposed}) {
    const Sizes s{13, 37, 19};
    auto a = left<Scalar>(layout, s);
    auto b = right<Scalar>(layout, s);
    (layout == Layout::a_transposed ? a.view().row(7)[5] : a.view().row(5)[7]) =
        std::numeric_limits<Scalar>::quiet_NaN();
    (layout == Layout::b_transposed ? b.view().row(36)[18] : b.view().row(18)[36]) =
        std::numeric_limits<Scalar>::infinity();
    Strided<Scalar> c(s.m, s.n, 3);
    kernels::gemm<Scalar>(pool, layout, a.view(), b.view(), c.view());
    for (Index i = 0; i < s.m; ++i) {
      for (Index j = 0; j < s.n; ++j) {
        EXPECT_EQ(number(c.view().row(i)[j]), i != 5 && j != 36) << i << ' ' << j;
        EXPECT_EQ(std::isnan(c.view().row(i)[j]), i == 5) << i << ' ' << j;
      }
    }
  }
}

TYPED_TEST(Gemm, DoesNotDependOnTheThreads) {
  using Scalar = TypeParam;
  for (const Layout layout : {Layout::plain, Layout::a_transposed, Layout::b_transposed}) {
    const Sizes s{37, 333, 70};
    const auto a = left<Scalar>(layout, s);
    const auto b = right<Scalar>(layout, s);
    ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
      Strided<Scalar> c(s.m, s.n, 3);
      kernels::gemm<Scalar>(pool, layout, a.view(), b.view(), c.view(), true);
      return c;
    });
  }
}

TYPED_TEST(Gemm, LinearWithEveryEpilogue) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Sizes& s : sizes) {
    const Strided<Scalar> x(s.m, s.k, 1);
    const Strided<Scalar> weight(s.n, s.k, 2);
    const Strided<Scalar> bias(1, s.n, 3);
    for (int activation = 0; activation < ef::testing::all_activations; ++activation) {
      const bool has_bias = activation % 2 == 0;
      for (const bool keeps : {false, true}) {
        const auto run = [&](Strided<Scalar>& y, Strided<Scalar>& z, auto&& linear) {
          kernels::Epilogue<Scalar> epilogue;
          epilogue.bias = has_bias ? bias.data() : nullptr;
          epilogue.activation = static_cast<ef::Activation>(activation);
          if (keeps) epilogue.pre_activation = z.view();
          linear(epilogue, y.view());
        };
        Strided<Scalar> found(s.m, s.n, 4);
        Strided<Scalar> found_z(s.m, s.n, 5, 1);
        Strided<Scalar> expected = found;
        Strided<Scalar> expected_z = found_z;
        run(found, found_z, [&](const auto& epilogue, ef::MatrixView<Scalar> y) {
          kernels::linear<Scalar>(pool, x.view(), weight.view(), epilogue, y);
        });
        run(expected, expected_z, [&](const auto& epilogue, ef::MatrixView<Scalar> y) {
          reference::linear<Scalar>(x.view(), weight.view(), epilogue, y);
        });
        const double epsilons = 16 + 16 * std::sqrt(double(s.k));
        EXPECT_TRUE(close(found, expected, epsilons))
            << s.m << ' ' << s.n << ' ' << s.k << " activation " << activation;
        EXPECT_TRUE(close(found_z, expected_z, epsilons));
      }
    }
  }
}

TEST(Linear, KeepsItsSumsInBFloat16) {
  ef::ThreadPool pool(2);
  const kernels::Kernels& k = kernels::active_kernels();
  for (const Sizes& s : sizes) {
    const Strided<float> x(s.m, s.k, 1);
    const Strided<float> weight(s.n, s.k, 2);
    const Index words = kernels::rounded_words(s.n);
    const Index stride = words + 3;
    const kernels::Word untouched = 7;
    std::vector<kernels::Word> rounded(static_cast<std::size_t>(s.m * stride), untouched);
    Strided<float> y(s.m, s.n, 4);
    Strided<float> z(s.m, s.n, 5, 1);
    kernels::Epilogue<float> epilogue{.activation = ef::Activation::gelu, .approximate = true};
    epilogue.pre_activation = z.view();
    epilogue.rounded = {rounded.data(), s.m, words, stride};
    kernels::linear<float>(pool, x.view(), weight.view(), epilogue, y.view(), ef::Precision::bf16);
    const kernels::ActivationInput<float> input{{}, {rounded.data(), s.m, words, stride}};
    std::vector<kernels::Word> expected(static_cast<std::size_t>(words));
    for (Index i = 0; i < s.m; ++i) {
      k.bfloat16_row(z.view().row(i), s.n, expected.data());
      const kernels::Word* const found = rounded.data() + i * stride;
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), found)) << s.n << " row " << i;
      EXPECT_EQ(std::count(found + words, found + stride, untouched), 3);
      const float* const row = input.row(i, s.n);
      for (Index j = 0; j < s.n; ++j) {
        const kernels::Word word = found[j / 2];
        ASSERT_EQ(row[j], std::bit_cast<float>(j % 2 == 0 ? word << 16 : word & 0xffff0000u));
      }
    }
  }
}

TYPED_TEST(Gemm, LinearDoesNotDependOnTheThreads) {
  using Scalar = TypeParam;
  const Strided<Scalar> x(31, 70, 1);
  const Strided<Scalar> weight(333, 70, 2);
  const Strided<Scalar> bias(1, 333, 3);
  ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
    Strided<Scalar> y(31, 333, 4);
    kernels::linear<Scalar>(pool, x.view(), weight.view(), {bias.data(), ef::Activation::gelu, {}},
                            y.view());
    return y;
  });
}

TEST(PackedLinear, ARowAloneIsTheSameAsAmongOthers) {
  ef::ThreadPool threads(1);
  for (const ef::Precision precision :
       {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    for (const Sizes& s : {Sizes{3, 1, 5}, {3, 100, 70}, {3, 700, 900}, {3, 1000, 40}}) {
      const Strided<float> x(s.m, s.k, 1);
      const Strided<float> w(s.n, s.k, 2);
      const Strided<float> bias(1, s.n, 3);
      std::vector<float> divisors(static_cast<std::size_t>(s.k), 0.5f);
      const kernels::PackedWeight weight(
          threads, precision, w.view(),
          precision == ef::Precision::int8 ? divisors.data() : nullptr);
      const kernels::Epilogue<float> epilogue{bias.data(), ef::Activation::gelu, {}};
      Strided<float> together(s.m, s.n, 4);
      kernels::packed_linear(threads, weight, x.view(), epilogue, together.view());
      for (Index i = 0; i < s.m; ++i) {
        ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
          Strided<float> alone(1, s.n, 4);
          kernels::packed_linear(pool, weight, x.view().middle_rows(i, 1), epilogue, alone.view());
          for (Index j = 0; j < s.n; ++j) {
            EXPECT_EQ(alone.view().row(0)[j], together.view().row(i)[j])
                << ef::name_of(precision) << ' ' << s.n << ' ' << s.k << ' ' << j;
          }
          return alone;
        });
      }
    }
  }
}

TEST(PackedLinear, ManyRowsAreTheSameAsFew) {
  const Sizes& s = several_blocks;
  ef::ThreadPool threads(1);
  for (const ef::Precision precision :
       {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    const Strided<float> x(s.m, s.k, 1);
    const Strided<float> w(s.n, s.k, 2);
    const Strided<float> bias(1, s.n, 3);
    const kernels::PackedWeight weight(threads, precision, w.view());
    const kernels::Epilogue<float> epilogue{bias.data(), ef::Activation::gelu, {}};
    Strided<float> few(s.m, s.n, 4);
    for (Index i = 0; i < s.m; i += 16) {
      const Index rows = std::min<Index>(16, s.m - i);
      kernels::packed_linear(threads, weight, x.view().middle_rows(i, rows), epilogue,
                             few.view().middle_rows(i, rows));
    }
    ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
      Strided<float> many(s.m, s.n, 4);
      kernels::packed_linear(pool, weight, x.view(), epilogue, many.view());
      EXPECT_TRUE(many.identical(few)) << ef::name_of(precision);
      return many;
    });
  }
}

TYPED_TEST(Gemm, ColumnSums) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Index rows : {0, 1, 7, 130}) {
    const Strided<Scalar> x(rows, 5, 1);
    Strided<Scalar> found(1, 5, 2);
    Strided<Scalar> expected(1, 5, 2);
    kernels::add_column_sums<Scalar>(pool, x.view(), found.data());
    reference::add_column_sums<Scalar>(x.view(), expected.data());
    EXPECT_TRUE(close(found, expected));
  }
}

}  // namespace gemm_test
