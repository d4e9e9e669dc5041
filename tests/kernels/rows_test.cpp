// Kernels that work row by row or number by number, against their references: activations, layer
// norm, softmax, embeddings, cross entropy, dropout.
#include <numeric>

#include "eigenformer/kernels/activation.hpp"
#include "eigenformer/kernels/dropout.hpp"
#include "eigenformer/kernels/embedding.hpp"
#include "eigenformer/kernels/loss.hpp"
#include "eigenformer/kernels/norm.hpp"
#include "eigenformer/kernels/reference/activation.hpp"
#include "eigenformer/kernels/reference/dropout.hpp"
#include "eigenformer/kernels/reference/embedding.hpp"
#include "eigenformer/kernels/reference/loss.hpp"
#include "eigenformer/kernels/reference/norm.hpp"
#include "eigenformer/kernels/reference/softmax.hpp"
#include "eigenformer/kernels/softmax.hpp"

#include "support.hpp"

namespace rows_test {

namespace ef = eigenformer;
namespace kernels = ef::kernels;
namespace reference = ef::kernels::reference;
using ef::Activation;
using ef::Index;
using ef::TokenId;
using ef::testing::close;
using ef::testing::Strided;

template <class Scalar>
class Rows : public ::testing::Test {
 protected:
  static constexpr Scalar infinity = std::numeric_limits<Scalar>::infinity();
  static constexpr Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();

  static Scalar value(Activation activation, Scalar x) {
    kernels::activate(activation, &x, &x, 1);  // in place
    return x;
  }
  static Scalar slope(Activation activation, Scalar x) {
    Scalar d = 1;
    kernels::activate_backward(activation, &x, &d, &d, 1);  // in place
    return d;
  }
};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Rows, Scalars);

std::vector<TokenId> random_ids(Index count, Index entries) {
  std::vector<TokenId> ids;
  for (Index i = 0; i < count; ++i) {
    const double draw = ef::Rng(5).uniform(1, static_cast<std::uint64_t>(i));
    ids.push_back(static_cast<TokenId>(draw * static_cast<double>(entries)));
  }
  return ids;
}

constexpr Index row_counts[] = {0, 1, 5, 16, 17, 67};
constexpr Index widths[] = {1, 2, 7, 64, 65, 131};

TYPED_TEST(Rows, ActivationsAndSlopes) {
  using Scalar = TypeParam;
  const Index n = 2001;
  Strided<Scalar> x(1, n, 1);
  for (Index i = 0; i < n; ++i) x.data()[i] = static_cast<Scalar>(0.03 * double(i - n / 2));
  const Strided<Scalar> dy(1, n, 2);
  for (int i = 0; i < ef::testing::all_activations; ++i) {
    const auto activation = static_cast<Activation>(i);
    for (const Index count : {Index(0), Index(1), Index(13), n}) {
      Strided<Scalar> found(1, n, 3);
      Strided<Scalar> expected(1, n, 3);
      kernels::activate(activation, x.data(), found.data(), count);
      reference::activate(activation, x.data(), expected.data(), count);
      EXPECT_TRUE(close(found, expected, 4)) << i;
      kernels::activate_backward(activation, x.data(), dy.data(), found.data(), count);
      reference::activate_backward(activation, x.data(), dy.data(), expected.data(), count);
      EXPECT_TRUE(close(found, expected, 16)) << i;
    }
  }
}

// x, x Phi(x) and its derivative, from mpmath with 60 digits.
TYPED_TEST(Rows, GeluKeepsItsNegativeTail) {
  using Scalar = TypeParam;
  constexpr double points[][3] = {
      {-1, -0.15865525393145705, -0.083315470587686298},
      {-3, -0.0040496940948902836, -0.011945647204183927},
      {-5, -1.4332578593959696e-6, -7.1469460017922946e-6},
      {-8, -4.9767684594174273e-15, -3.979607261086796e-14},
      {-10, -7.6198530241605261e-23, -7.6184000964648141e-22},
      {-13, -7.9523137194148436e-38, -1.0337304440113356e-36},
      {-20, -5.5072482372124674e-88, -1.1014360483133464e-86},
      {-30, -1.4720141781444561e-196, -4.4160316907084944e-195},
      {-37, -2.1184613523340934e-298, -7.8382986694185162e-297},
  };
  for (const auto& [x, expected, expected_slope] : points) {
    if (std::abs(expected) < double(std::numeric_limits<Scalar>::min())) continue;
    // A relative error of x by half an epsilon becomes one of x^2 epsilons in exp(-x^2 / 2).
    const double allowed = (2 * x * x + 8) * double(std::numeric_limits<Scalar>::epsilon());
    EXPECT_NEAR(this->value(Activation::gelu, Scalar(x)) / expected, 1, allowed) << x;
    EXPECT_NEAR(this->slope(Activation::gelu, Scalar(x)) / expected_slope, 1, 2 * allowed) << x;
  }
}

TYPED_TEST(Rows, ActivationsOfExtremeNumbers) {
  using Scalar = TypeParam;
  const Scalar huge = std::numeric_limits<Scalar>::max();
  for (int i = 0; i < ef::testing::all_activations; ++i) {
    const auto activation = static_cast<Activation>(i);
    EXPECT_TRUE(std::isnan(this->value(activation, this->nan))) << i;
    // Where x is finite, however large, so are value and slope.
    for (const Scalar x : {huge, huge / 1000, Scalar(1e20), Scalar(1000), Scalar(100)}) {
      const bool grows = activation != Activation::tanh;
      const bool straight = activation == Activation::none;
      EXPECT_EQ(this->value(activation, x), grows ? x : Scalar(1)) << i << ' ' << x;
      EXPECT_EQ(this->slope(activation, x), Scalar(grows)) << i << ' ' << x;
      EXPECT_NEAR(this->value(activation, -x), straight ? -x : Scalar(grows ? 0 : -1), 1e-30);
      EXPECT_NEAR(this->slope(activation, -x), Scalar(straight), 1e-30) << i << ' ' << x;
    }
    if (activation != Activation::tanh) {
      EXPECT_EQ(this->value(activation, this->infinity), this->infinity) << i;
    }
  }
  EXPECT_EQ(this->value(Activation::tanh, -this->infinity), Scalar(-1));
  EXPECT_EQ(this->value(Activation::relu, -this->infinity), Scalar(0));
  // In PyTorch x times a vanishing factor is no number at -infinity; the float kernels give the
  // limit.
  for (const auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    const Scalar value = this->value(activation, -this->infinity);
    EXPECT_TRUE((std::is_same_v<Scalar, float>) ? value == 0 : std::isnan(value));
  }
}

TYPED_TEST(Rows, LayerNorm) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Index rows : row_counts) {
    for (const Index n : widths) {
      const Strided<Scalar> x(rows, n, 1);
      const Strided<Scalar> residual(rows, n, 2, 1);
      const Strided<Scalar> gamma(1, n, 3);
      const Strided<Scalar> beta(1, n, 4);
      for (const bool has_residual : {false, true}) {
        for (const bool keeps : {false, true}) {
          const ef::MatrixView<const Scalar> other =
              has_residual ? residual.view() : ef::MatrixView<const Scalar>{};
          const auto run = [&](Strided<Scalar>& y, Strided<Scalar>& sum, Strided<Scalar>& scale,
                               auto&& norm) {
            norm(y.view(), keeps ? sum.view() : ef::MatrixView<Scalar>{},
                 keeps ? scale.data() : nullptr);
          };
          const auto eps = Scalar(1e-5);
          Strided<Scalar> y(rows, n, 5), sum(rows, n, 6), scale(1, rows, 7);
          Strided<Scalar> y2(rows, n, 5), sum2(rows, n, 6), scale2(1, rows, 7);
          run(y, sum, scale, [&](auto out, auto kept, Scalar* inverse) {
            kernels::layer_norm_forward<Scalar>(pool, x.view(), other, gamma.data(), beta.data(),
                                                eps, out, kept, inverse);
          });
          run(y2, sum2, scale2, [&](auto out, auto kept, Scalar* inverse) {
            reference::layer_norm_forward<Scalar>(x.view(), other, gamma.data(), beta.data(), eps,
                                                  out, kept, inverse);
          });
          // Two numbers that nearly agree leave few digits of their difference.
          const double epsilons = n == 2 ? 1e4 : 64;
          EXPECT_TRUE(close(y, y2, epsilons)) << rows << ' ' << n;
          EXPECT_TRUE(close(sum, sum2)) << rows << ' ' << n;
          EXPECT_TRUE(close(scale, scale2, epsilons)) << rows << ' ' << n;
        }
      }
      const Strided<Scalar> dy(rows, n, 8);
      Strided<Scalar> scale(1, rows, 7);
      Strided<Scalar> y(rows, n, 5);
      reference::layer_norm_forward<Scalar>(x.view(), {}, gamma.data(), beta.data(), Scalar(1e-5),
                                            y.view(), {}, scale.data());
      for (int wanted = 0; wanted < 8; ++wanted) {
        const auto run = [&](Strided<Scalar>& dx, Strided<Scalar>& dgamma, Strided<Scalar>& dbeta,
                             auto&& backward) {
          backward((wanted & 1) != 0 ? dx.view() : ef::MatrixView<Scalar>{},
                   (wanted & 2) != 0 ? dgamma.data() : nullptr,
                   (wanted & 4) != 0 ? dbeta.data() : nullptr);
        };
        Strided<Scalar> dx(rows, n, 9), dgamma(1, n, 10), dbeta(1, n, 11);
        Strided<Scalar> dx2(rows, n, 9), dgamma2(1, n, 10), dbeta2(1, n, 11);
        run(dx, dgamma, dbeta, [&](auto d, Scalar* g, Scalar* b) {
          kernels::layer_norm_backward<Scalar>(pool, x.view(), gamma.data(), scale.data(),
                                               dy.view(), d, g, b);
        });
        run(dx2, dgamma2, dbeta2, [&](auto d, Scalar* g, Scalar* b) {
          reference::layer_norm_backward<Scalar>(x.view(), gamma.data(), scale.data(), dy.view(), d,
                                                 g, b);
        });
        EXPECT_TRUE(close(dx, dx2, n == 2 ? 1e4 : 256)) << rows << ' ' << n;
        EXPECT_TRUE(close(dgamma, dgamma2, n == 2 ? 1e4 : 256)) << rows << ' ' << n;
        EXPECT_TRUE(close(dbeta, dbeta2)) << rows << ' ' << n;
      }
    }
  }
}

TYPED_TEST(Rows, LayerNormFarFromZero) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Index n = 64;
  Strided<Scalar> x(1, n, 1);
  for (Index j = 0; j < n; ++j) x.data()[j] = Scalar(4096 + j % 2);  // exact: deviation 1/2
  const std::vector<Scalar> one(64, 1);
  const std::vector<Scalar> zero(64, 0);
  Strided<Scalar> y(1, n, 2);
  kernels::layer_norm_forward<Scalar>(pool, x.view(), {}, one.data(), zero.data(), Scalar(0),
                                      y.view(), {}, nullptr);
  for (Index j = 0; j < n; ++j) EXPECT_NEAR(y.data()[j], j % 2 == 0 ? -1 : 1, 1e-6);
}

TYPED_TEST(Rows, LayerNormOfEqualNumbersIsBeta) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Strided<Scalar> gamma(1, 7, 3);
  const Strided<Scalar> beta(1, 7, 4);
  Strided<Scalar> x(2, 7, 1);
  for (Index i = 0; i < 2; ++i) std::fill_n(x.view().row(i), 7, Scalar(0.5));
  x.view().row(1)[3] = this->nan;  // stays within its row
  Strided<Scalar> y(2, 7, 2);
  kernels::layer_norm_forward<Scalar>(pool, x.view(), {}, gamma.data(), beta.data(), Scalar(1e-12),
                                      y.view(), {}, nullptr);
  for (Index j = 0; j < 7; ++j) {
    EXPECT_EQ(y.view().row(0)[j], beta.data()[j]);
    EXPECT_TRUE(std::isnan(y.view().row(1)[j]));
  }
}

TYPED_TEST(Rows, LayerNormDoesNotDependOnTheThreads) {
  using Scalar = TypeParam;
  const Strided<Scalar> x(67, 65, 1);
  const Strided<Scalar> gamma(1, 65, 3);
  const Strided<Scalar> beta(1, 65, 4);
  ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
    Strided<Scalar> y(67, 65, 5);
    kernels::layer_norm_forward<Scalar>(pool, x.view(), x.view(), gamma.data(), beta.data(),
                                        Scalar(1e-5), y.view(), {}, nullptr);
    return y;
  });
  const std::vector<Scalar> scale(67, 1);
  const Strided<Scalar> dy(67, 65, 6);
  ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
    Strided<Scalar> dx(67, 65, 7), dgamma(1, 65, 8), dbeta(1, 65, 9);
    kernels::layer_norm_backward<Scalar>(pool, x.view(), gamma.data(), scale.data(), dy.view(),
                                         dx.view(), dgamma.data(), dbeta.data());
    for (Index j = 0; j < 65; ++j) dx.view().row(0)[j] += dgamma.data()[j] + dbeta.data()[j];
    return dx;
  });
}

TYPED_TEST(Rows, Softmax) {
  using Scalar = TypeParam;
  for (const Index n : {0, 1, 2, 7, 64, 65, 131, 1000}) {
    for (const double spread : {1.0, 40.0}) {
      Strided<Scalar> x(1, n, 1);
      for (Index j = 0; j < n; ++j) x.data()[j] *= static_cast<Scalar>(spread);
      Strided<Scalar> found(1, n, 2);
      Strided<Scalar> expected(1, n, 2);
      const Scalar log_sum = kernels::softmax_row(x.data(), found.data(), n);
      const Scalar expected_log_sum = reference::softmax_row(x.data(), expected.data(), n);
      EXPECT_TRUE(close(found, expected, 8 * spread)) << n;
      if (n > 0) {
        EXPECT_NEAR(log_sum / expected_log_sum, 1, 1e-5) << n;
      }
      const Strided<Scalar> dy(1, n, 3);
      Strided<Scalar> in_place = dy;
      kernels::softmax_row_backward(expected.data(), in_place.data(), in_place.data(), n);
      reference::softmax_row_backward(expected.data(), dy.data(), found.data(), n);
      EXPECT_TRUE(close(in_place, found, 8)) << n;
      kernels::softmax_row(x.data(), x.data(), n);  // in place
      EXPECT_TRUE(close(x, expected, 8 * spread)) << n;
    }
  }
}

TYPED_TEST(Rows, SoftmaxOfExtremeNumbers) {
  using Scalar = TypeParam;
  const auto softmax = [](std::vector<Scalar> x) {
    kernels::softmax_row(x.data(), x.data(), static_cast<Index>(x.size()));
    return x;
  };
  const Scalar huge = std::numeric_limits<Scalar>::max();
  EXPECT_EQ(softmax({huge, huge, -huge}), (std::vector<Scalar>{0.5, 0.5, 0}));
  EXPECT_EQ(softmax({-huge, -huge}), (std::vector<Scalar>{0.5, 0.5}));
  EXPECT_EQ(softmax({-this->infinity, 3}), (std::vector<Scalar>{0, 1}));
  for (const auto& x : {std::vector<Scalar>{0, this->nan}, std::vector<Scalar>{this->nan, 0},
                        std::vector<Scalar>{-this->infinity, -this->infinity}}) {
    for (const Scalar y : softmax(x)) EXPECT_TRUE(std::isnan(y));
  }
}

TYPED_TEST(Rows, Embedding) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Index tokens : {0, 1, 7, 130}) {
    for (const Index hidden : {1, 5, 64, 65, 131}) {
      const auto ids = random_ids(tokens, 11);
      const Strided<Scalar> table(11, hidden, 1);
      for (const bool accumulate : {false, true}) {
        Strided<Scalar> found(tokens, hidden, 2);
        Strided<Scalar> expected(tokens, hidden, 2);
        kernels::lookup_rows<Scalar>(pool, table.view(), ids, found.view(), accumulate);
        reference::lookup_rows<Scalar>(table.view(), ids, expected.view(), accumulate);
        EXPECT_TRUE(close(found, expected, 0));
      }
      const Strided<Scalar> dout(tokens, hidden, 3);
      for (const Index skipped : {-1, 4}) {
        Strided<Scalar> found(11, hidden, 4);
        Strided<Scalar> expected(11, hidden, 4);
        kernels::lookup_rows_backward<Scalar>(pool, dout.view(), ids, skipped, found.view());
        reference::lookup_rows_backward<Scalar>(dout.view(), ids, skipped, expected.view());
        EXPECT_TRUE(close(found, expected, 0));
      }
    }
  }
  const auto ids = random_ids(130, 11);
  const Strided<Scalar> dout(130, 131, 3);
  ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& any) {
    Strided<Scalar> dtable(11, 131, 4);
    kernels::lookup_rows_backward<Scalar>(any, dout.view(), ids, -1, dtable.view());
    return dtable;
  });
}

TYPED_TEST(Rows, CrossEntropy) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  for (const Index rows : row_counts) {
    for (const Index classes : widths) {
      const Strided<Scalar> logits(rows, classes, 1);
      auto labels = random_ids(rows, classes);
      for (std::size_t i = 0; i < labels.size(); i += 3) labels[i] = -100;
      std::vector<Scalar> weights(static_cast<std::size_t>(classes));
      for (std::size_t j = 0; j < weights.size(); ++j) weights[j] = Scalar(0.5) * Scalar(j % 4);
      for (const Scalar smoothing : {Scalar(0), Scalar(0.1), Scalar(1)}) {
        for (const bool weighted : {false, true}) {
          kernels::CrossEntropyTarget<Scalar> target{labels, -100, smoothing};
          if (weighted) target.weights = weights;
          Strided<Scalar> losses(1, rows, 3), d(rows, classes, 4);
          Strided<Scalar> losses2(1, rows, 3), d2(rows, classes, 4);
          kernels::cross_entropy_forward<Scalar>(pool, logits.view(), target, losses.data());
          reference::cross_entropy_forward<Scalar>(logits.view(), target, losses2.data());
          EXPECT_TRUE(close(losses, losses2, 32)) << rows << ' ' << classes;
          kernels::cross_entropy_backward<Scalar>(pool, logits.view(), target, Scalar(0.25),
                                                  d.view());
          reference::cross_entropy_backward<Scalar>(logits.view(), target, Scalar(0.25), d2.view());
          EXPECT_TRUE(close(d, d2, 8)) << rows << ' ' << classes;
          Strided<Scalar> in_place = logits;
          kernels::cross_entropy_backward<Scalar>(pool, in_place.view(), target, Scalar(0.25),
                                                  in_place.view());
          EXPECT_TRUE(close(in_place, d, 0)) << rows << ' ' << classes;
        }
      }
    }
  }
}

TYPED_TEST(Rows, CrossEntropyDoesNotDependOnTheThreads) {
  using Scalar = TypeParam;
  const Strided<Scalar> logits(67, 131, 1);
  const auto labels = random_ids(67, 131);
  ef::testing::expect_same_for_any_pool([&](ef::ThreadPool& pool) {
    Strided<Scalar> losses(1, 67, 3), d(67, 131, 4);
    const kernels::CrossEntropyTarget<Scalar> target{labels, -100, Scalar(0.1)};
    kernels::cross_entropy_forward<Scalar>(pool, logits.view(), target, losses.data());
    kernels::cross_entropy_backward<Scalar>(pool, logits.view(), target, Scalar(1), d.view());
    for (Index i = 0; i < 67; ++i) d.view().row(i)[0] += losses.data()[i];
    return d;
  });
}

TYPED_TEST(Rows, CrossEntropyOfSharpLogits) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const std::vector<Scalar> logits{0, 1000, -1000};
  Scalar loss = 0;
  const auto loss_of = [&](TokenId label) {
    const std::vector<TokenId> labels{label};
    kernels::cross_entropy_forward<Scalar>(pool, {logits.data(), 1, 3, 3}, {labels}, &loss);
    return loss;
  };
  EXPECT_EQ(loss_of(0), Scalar(1000));
  EXPECT_EQ(loss_of(1), Scalar(0));
  EXPECT_EQ(loss_of(2), Scalar(2000));
  EXPECT_EQ(loss_of(-100), Scalar(0));
}

TYPED_TEST(Rows, Dropout) {
  using Scalar = TypeParam;
  const ef::Rng rng(3);
  const Index n = 100000;
  const Strided<Scalar> x(1, n, 1);
  for (const double probability : {0.0, 0.1, 0.5, 0.9}) {
    const kernels::DropoutPattern pattern{rng, 4, probability};
    Strided<Scalar> found(1, n, 2);
    Strided<Scalar> expected(1, n, 2);
    pattern.apply(x.data(), found.data(), n, 0);
    reference::dropout(pattern, x.data(), expected.data(), n, 0);
    EXPECT_TRUE(close(found, expected, 2));
    // A part drawn alone is the same part.
    Strided<Scalar> part = x;
    pattern.apply(part.data() + 100, part.data() + 100, 900, 100);
    EXPECT_TRUE(std::equal(part.data() + 100, part.data() + 1000, found.data() + 100));
    const auto dropped = std::count(found.data(), found.data() + n, Scalar(0));
    EXPECT_NEAR(static_cast<double>(dropped) / n, probability, 0.006);  // 4 deviations
    const std::vector<Scalar> ones(static_cast<std::size_t>(n), 1);
    pattern.apply(ones.data(), found.data(), n, 0);
    const double mean = std::accumulate(found.data(), found.data() + n, 0.0) / n;
    EXPECT_NEAR(mean, 1, 0.04);
  }
  // Neighbouring streams, and neighbours in one stream, have nothing to do with each other.
  Index both_streams = 0;
  Index both_neighbours = 0;
  for (std::uint64_t i = 0; i < 40000; ++i) {
    both_streams += rng.uniform(0, i) < 0.5 && rng.uniform(1, i) < 0.5;
    both_neighbours += rng.uniform(0, i) < 0.5 && rng.uniform(0, i + 1) < 0.5;
  }
  EXPECT_NEAR(static_cast<double>(both_streams) / 40000, 0.25, 0.01);
  EXPECT_NEAR(static_cast<double>(both_neighbours) / 40000, 0.25, 0.01);
}

}  // namespace rows_test
