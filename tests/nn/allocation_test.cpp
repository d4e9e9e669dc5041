// A repeated forward pass takes no memory from the system, neither by operator new nor by malloc.
#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "eigenformer/nn.hpp"

#include "support.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define EIGENFORMER_COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EIGENFORMER_COUNTS 0
#else
#define EIGENFORMER_COUNTS 1
#endif
#else
#define EIGENFORMER_COUNTS 1
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0};
}  // namespace

#if EIGENFORMER_COUNTS
// The C library's functions under its own names for them; operator new calls the first.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  allocations += counting;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  allocations += counting;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  allocations += counting;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  allocations += counting;
  return __libc_memalign(alignment, size);
}
}
#endif

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
