#include "eigenformer/base/rng.hpp"

#include <array>
#include <cstdint>

#include <gtest/gtest.h>

namespace rng_test {

namespace ef = eigenformer;

// The known answers of the reference implementation (Random123, kat_vectors).
TEST(Rng, PhiloxKnownAnswers) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(ef::philox({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(ef::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, ~0ull),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Rng, NormalHasMeanZeroAndVarianceOne) {
  const ef::Rng rng(7);
  double sum = 0;
  double squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal(3, static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0.0, 0.02);
  EXPECT_NEAR(squares / n, 1.0, 0.02);
}

}  // namespace rng_test
