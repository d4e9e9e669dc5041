// Attention over segments against its reference: forward, probabilities, backward, dropout.
#include "eigenformer/kernels/attention.hpp"

#include <numeric>

#include "eigenformer/kernels/reference/attention.hpp"

#include "support.hpp"

namespace attention_test {

namespace ef = eigenformer;
namespace kernels = ef::kernels;
namespace reference = ef::kernels::reference;
using ef::Index;
using ef::testing::close;
using ef::testing::Strided;

enum class Mask { none, some, second_segment };

struct Case {
  const char* name;
  std::vector<Index> queries;
  std::vector<Index> keys;
  Index heads;
  Index size;
  Index value_size;
  bool causal;
  Mask mask;
  double spread = 1;  ///< of the queries
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"no segments", {0}, {0}, 2, 3, 3, false, Mask::none},
      {"no tokens", {0, 0}, {0, 0}, 2, 3, 3, false, Mask::none},
      {"one token", {0, 1}, {0, 1}, 1, 1, 1, false, Mask::none},
      {"one token, causal", {0, 1}, {0, 1}, 3, 2, 2, true, Mask::none},
      {"segments, one empty", {0, 5, 5, 12}, {0, 5, 5, 12}, 3, 4, 4, false, Mask::none},
      {"masked", {0, 5, 5, 12}, {0, 5, 5, 12}, 3, 4, 4, false, Mask::some},
      {"masked whole", {0, 3, 7, 9}, {0, 3, 7, 9}, 2, 4, 4, false, Mask::second_segment},
      {"causal", {0, 5, 5, 12}, {0, 5, 5, 12}, 3, 4, 4, true, Mask::none},
      {"causal and masked", {0, 5, 16}, {0, 5, 16}, 2, 5, 5, true, Mask::some},
      {"one block", {0, 64}, {0, 64}, 2, 8, 8, false, Mask::none},
      {"one more than a block", {0, 65}, {0, 65}, 2, 7, 7, true, Mask::some},
      {"three blocks", {0, 130, 131}, {0, 130, 131}, 1, 17, 17, true, Mask::none},
      {"larger values", {0, 9, 13}, {0, 9, 13}, 2, 3, 7, false, Mask::some},
      {"smaller values", {0, 67}, {0, 67}, 3, 5, 1, false, Mask::none},
      {"cross", {0, 1, 3, 70}, {0, 4, 9, 141}, 2, 6, 5, false, Mask::some},
      {"cross, queries without keys", {0, 2, 5}, {0, 0, 4}, 2, 3, 3, false, Mask::none},
      {"cross, keys without queries", {0, 0, 5}, {0, 3, 4}, 2, 3, 3, false, Mask::none},
      {"causal, more keys", {0, 3, 70}, {0, 9, 90}, 2, 4, 4, true, Mask::none},
      {"causal, fewer keys", {0, 5}, {0, 2}, 2, 4, 4, true, Mask::none},
      {"one query after many keys", {0, 1, 2, 3}, {0, 1, 71, 300}, 3, 17, 17, true, Mask::none},
      {"one query, wide heads", {0, 1}, {0, 90}, 2, 64, 151, true, Mask::some},
      {"one query, masked whole", {0, 1, 2, 3}, {0, 5, 9, 12}, 2, 9, 5, true, Mask::second_segment},
      {"sharp", {0, 11}, {0, 11}, 2, 4, 4, false, Mask::some, 500},
  };
  return all;
}

/// A case's numbers; query, key and value are columns of one matrix where they can be, as the
/// layers have them.
template <class Scalar>
struct Problem {
  Strided<Scalar> query, key, value;
  std::vector<std::uint8_t> mask;
  kernels::Attention<Scalar> attention;

  /// Refers to the case's offsets.
  explicit Problem(const Case& c, double dropout = 0)
      : query(c.queries.back(), c.heads * c.size, 1, 5),
        key(c.keys.back(), c.heads * c.size, 2, 4),
        value(c.keys.back(), c.heads * c.value_size, 3) {
    for (Index i = 0; i < query.rows(); ++i) {
      for (Index j = 0; j < query.cols(); ++j) {
        query.view().row(i)[j] *= static_cast<Scalar>(c.spread);
      }
    }
    if (c.mask != Mask::none) mask.assign(static_cast<std::size_t>(c.keys.back()), 1);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      const auto at = static_cast<Index>(i);
      const bool hidden = c.mask == Mask::some ? i % 3 == 1 : at >= c.keys[1] && at < c.keys[2];
      if (hidden) mask[i] = 0;
    }
    attention = {query.view(),
                 key.view(),
                 value.view(),
                 c.queries,
                 c.keys,
                 mask,
                 c.heads,
                 c.causal,
                 static_cast<Scalar>(1 / std::sqrt(double(c.size))),
                 {}};
    attention.dropout = {ef::Rng(77), 9, dropout};
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  [[nodiscard]] Index probabilities() const {
    Index count = 0;
    for (std::size_t i = 1; i < attention.query_offsets.size(); ++i) {
      count += attention.heads * (attention.query_offsets[i] - attention.query_offsets[i - 1]) *
               (attention.key_offsets[i] - attention.key_offsets[i - 1]);
    }
    return count;
  }

  struct Output {
    Strided<Scalar> out, probabilities;
  };
  [[nodiscard]] Output forward(ef::ThreadPool& pool) const {
    Output result{{query.rows(), value.cols(), 4}, {1, probabilities(), 5}};
    kernels::attention_forward<Scalar>(pool, attention, result.out.view(),
                                       result.probabilities.data());
    return result;
  }
  [[nodiscard]] Output forward_reference() const {
    Output result{{query.rows(), value.cols(), 6}, {1, probabilities(), 7}};
    reference::attention_forward<Scalar>(attention, result.out.view(), result.probabilities.data());
    return result;
  }

  struct Slopes {
    Strided<Scalar> query, key, value;
  };
  template <class Backward>
  [[nodiscard]] Slopes slopes(Backward&& backward) const {
    Slopes result{{query.rows(), query.cols(), 11},
                  {key.rows(), key.cols(), 12},
                  {value.rows(), value.cols(), 13}};
    const Strided<Scalar> dout(query.rows(), value.cols(), 14);
    backward(dout, result);
    return result;
  }
  [[nodiscard]] Slopes backward(ef::ThreadPool& pool) const {
    return slopes([&](const Strided<Scalar>& dout, Slopes& d) {
      kernels::attention_backward<Scalar>(pool, attention, dout.view(), d.query.view(),
                                          d.key.view(), d.value.view());
    });
  }
  [[nodiscard]] Slopes backward_reference(const Scalar* p) const {
    return slopes([&](const Strided<Scalar>& dout, Slopes& d) {
      reference::attention_backward<Scalar>(attention, p, dout.view(), d.query.view(), d.key.view(),
                                            d.value.view());
    });
  }
};

template <class Scalar>
class Attention : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Attention, Scalars);

TYPED_TEST(Attention, ForwardAndProbabilities) {
  ef::ThreadPool pool(2);
  for (const Case& c : cases()) {
    for (const double dropout : {0.0, 0.3}) {
      const Problem<TypeParam> problem(c, dropout);
      const auto found = problem.forward(pool);
      const auto expected = problem.forward_reference();
      const double epsilons = 32 * c.spread;  // rounding of the scores grows with them
      EXPECT_TRUE(close(found.out, expected.out, epsilons)) << c.name << ' ' << dropout;
      EXPECT_TRUE(close(found.probabilities, expected.probabilities, epsilons)) << c.name;
    }
  }
}

/// In bfloat16, with texts long enough for every instruction set to use it.
TEST(ReducedAttention, IsCloseToTheReference) {
  ef::ThreadPool pool(2);
  std::vector<Case> all = cases();
  std::erase_if(all, [](const Case& c) { return c.spread != 1; });
  all.push_back({"long", {0, 131, 331}, {0, 131, 331}, 2, 64, 64, false, Mask::some});
  all.push_back({"long, causal, odd sizes", {0, 97}, {0, 175}, 3, 33, 41, true, Mask::some});
  for (const Case& c : all) {
    Problem<float> problem(c);
    const auto expected = problem.forward_reference();
    problem.attention.precision = ef::Precision::bf16;
    const auto found = problem.forward(pool);
    const double epsilons = 0x1p16;  // two steps of a bfloat16
    EXPECT_TRUE(close(found.out, expected.out, epsilons)) << c.name;
    EXPECT_TRUE(close(found.probabilities, expected.probabilities, epsilons)) << c.name;
  }
}

TYPED_TEST(Attention, Backward) {
  ef::ThreadPool pool(2);
  for (const Case& c : cases()) {
    for (const double dropout : {0.0, 0.3}) {
      const Problem<TypeParam> problem(c, dropout);
      const double epsilons = 32 * c.spread;
      const auto forward = problem.forward_reference();
      const auto found = problem.backward(pool);
      const auto expected = problem.backward_reference(forward.probabilities.data());
      EXPECT_TRUE(close(found.query, expected.query, epsilons)) << c.name << ' ' << dropout;
      EXPECT_TRUE(close(found.key, expected.key, epsilons)) << c.name << ' ' << dropout;
      EXPECT_TRUE(close(found.value, expected.value, epsilons)) << c.name << ' ' << dropout;
    }
  }
}

TYPED_TEST(Attention, DoesNotDependOnTheThreads) {
  for (const Case& c : cases()) {
    const Problem<TypeParam> problem(c, 0.3);
    ef::testing::expect_same_for_any_pool(
        [&](ef::ThreadPool& pool) { return problem.forward(pool).out; });
    const auto p = problem.forward_reference().probabilities;
    ef::testing::expect_same_for_any_pool(
        [&](ef::ThreadPool& pool) { return problem.backward(pool).key; });
    ef::testing::expect_same_for_any_pool(
        [&](ef::ThreadPool& pool) { return problem.backward(pool).value; });
  }
}

TYPED_TEST(Attention, AQueryThatSeesNothingAttendsToItsSegmentAlike) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Case c{"", {0, 2, 5}, {0, 2, 5}, 2, 3, 3, false, Mask::none};
  const Problem<Scalar> problem(c);
  auto attention = problem.attention;
  const std::vector<std::uint8_t> mask(5, 0);
  attention.key_mask = mask;
  Strided<Scalar> out(5, 6, 4);
  Strided<Scalar> p(1, 2 * 4 + 2 * 9, 5);
  kernels::attention_forward<Scalar>(pool, attention, out.view(), p.data());
  for (Index i = 0; i < p.cols(); ++i) {
    EXPECT_NEAR(p.data()[i], i < 8 ? 1.0 / 2 : 1.0 / 3, 1e-6);
  }
  const auto value = problem.value.view();
  for (Index j = 0; j < 6; ++j) {
    EXPECT_NEAR(out.view().row(0)[j], (value.row(0)[j] + value.row(1)[j]) / 2, 1e-6);
    EXPECT_NEAR(out.view().row(4)[j], (value.row(2)[j] + value.row(3)[j] + value.row(4)[j]) / 3,
                1e-6);
  }
}

TYPED_TEST(Attention, NaNStaysInItsRowHeadAndSegment) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Case c{"", {0, 5, 12}, {0, 5, 12}, 2, 3, 3, false, Mask::none};
  const auto where = [&](const char* what, Index row, auto&& expected) {
    Problem<Scalar> problem(c);
    auto& changed = *what == 'q' ? problem.query : *what == 'k' ? problem.key : problem.value;
    changed.view().row(row)[4] = std::numeric_limits<Scalar>::quiet_NaN();  // the second head
    const auto out = problem.forward(pool).out;
    for (Index i = 0; i < 12; ++i) {
      for (Index j = 0; j < 6; ++j) {
        EXPECT_EQ(std::isnan(out.view().row(i)[j]), expected(i, j)) << what << ' ' << i << ' ' << j;
      }
    }
  };
  where("query", 2, [](Index i, Index j) { return i == 2 && j >= 3; });
  where("key", 2, [](Index i, Index j) { return i < 5 && j >= 3; });
  where("value", 7, [](Index i, Index j) { return i >= 5 && j == 4; });
}

TYPED_TEST(Attention, HiddenKeysAreWithoutEffect) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(1);
  const Case c{"", {0, 6}, {0, 6}, 2, 3, 3, false, Mask::some};
  const Problem<Scalar> problem(c);
  Problem<Scalar> changed(c);
  for (const Index hidden : {1, 4}) {
    for (Index j = 0; j < 6; ++j) {
      changed.key.view().row(hidden)[j] = Scalar(1e3);
      changed.value.view().row(hidden)[j] = Scalar(-1e3);
    }
  }
  EXPECT_TRUE(problem.forward(pool).out.identical(changed.forward(pool).out));
}

TYPED_TEST(Attention, TheDropoutPatternIsTheSameForwardAndBackward) {
  using Scalar = TypeParam;
  ef::ThreadPool pool(2);
  const Index n = 70;  // more than a block of queries
  const Case c{"", {0, n}, {0, n}, 1, 4, n, false, Mask::none};
  Problem<Scalar> problem(c, 0.3);
  Strided<Scalar> identity(n, n, 0);
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < n; ++j) identity.view().row(i)[j] = i == j ? Scalar(1) : Scalar(0);
  }
  problem.value = identity;
  problem.attention.value = problem.value.view();
  const auto forward = problem.forward(pool);  // out is the dropped probabilities
  typename Problem<Scalar>::Slopes d{{n, 4, 1}, {n, 4, 2}, {n, n, 3}};
  for (Index i = 0; i < n; ++i) std::fill_n(d.value.view().row(i), n, Scalar(0));
  kernels::attention_backward<Scalar>(pool, problem.attention, identity.view(), d.query.view(),
                                      d.key.view(), d.value.view());
  Index dropped = 0;
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < n; ++j) {
      const Scalar p = forward.probabilities.data()[i * n + j];
      const Scalar found = forward.out.view().row(i)[j];
      EXPECT_EQ(found, d.value.view().row(j)[i]);
      if (found == 0)
        ++dropped;
      else
        EXPECT_NEAR(found, p / 0.7, 1e-6);
    }
  }
  EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(n * n), 0.3, 0.03);
}

}  // namespace attention_test
