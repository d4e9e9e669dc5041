// A repeated forward pass takes no memory from the system, neither by operator new nor by malloc.
#include <algorithm>

#include "eigenformer/nn.hpp"

#include "../allocation_counter.hpp"
#include "support.hpp"

namespace allocation_test {

namespace ef = eigenformer;
using ef::Index;

TEST(Allocation, ARepeatedForwardPassHasNone) {
  if (EIGENFORMER_COUNTS == 0) GTEST_SKIP() << "a sanitizer has its own malloc";
  const ef::EncoderLayer<float> layer({.hidden = 64, .heads = 4, .intermediate = 256});
  const std::vector<Index> segments{0, 20, 70, 150};
  const std::vector<std::uint8_t> mask(150, 1);
  const auto x = ef::Tensor<float>::full({150, 64}, 0.5F);
  for (const int threads : {1, 3}) {
    ef::Context cx(threads);
    const auto forward = [&] { (void)layer(cx, x, ef::Sequences(segments, mask)); };
    // Each thread has its own scratch memory and may meet its largest task late: what allocates at
    // every pass is wrong.
    long fewest = 1;
    for (int pass = 0; pass < 100 && fewest > 0; ++pass) {
      allocations = 0;
      counting = true;
      forward();
      counting = false;
      fewest = std::min(fewest, allocations.load());
    }
    EXPECT_EQ(fewest, 0) << threads << " threads";
    counting = true;
    (void)layer(cx, ef::Tensor<float>({10, 64}), {});
    counting = false;
    EXPECT_GT(allocations.load(), 0);  // the counter does count
  }
}

}  // namespace allocation_test
