// A model that has seen its largest batch takes no memory from the system any more, whatever comes.
#include <algorithm>
#include <cstdio>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"

#include "../allocation_counter.hpp"

namespace allocation_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Precision;

/// Resident memory in KiB.
long resident() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long total = 0;
  long pages = 0;
  const int found = std::fscanf(file, "%ld %ld", &total, &pages);
  std::fclose(file);
  return found == 2 ? pages * 4 : 0;
}

/// Texts of random lengths, at most `most` tokens in all.
ef::Batch random_batch(const ef::Rng& rng, std::uint64_t stream, Index most) {
  ef::Batch batch;
  const auto number = [&](std::uint64_t at, Index limit) {
    return static_cast<Index>(rng.uniform(stream, at) * static_cast<double>(limit));
  };
  const Index texts = 1 + number(0, 4);
  for (Index i = 0; i < texts; ++i) {
    const Index length = 1 + number(static_cast<std::uint64_t>(i) + 1, most / texts - 1);
    batch.add(std::vector<ef::TokenId>(static_cast<std::size_t>(length), 5));
  }
  return batch;
}

TEST(Allocation, NoneAfterTheLargestBatch) {
  if (EIGENFORMER_COUNTS == 0) GTEST_SKIP() << "a sanitizer has its own malloc";
  ef::RobertaConfig config;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 64;
  config.max_position_embeddings = 66;
  for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
    ef::RobertaModel<float> model(config, /*pooler=*/false);
    ef::Context cx(1);
    model.pack(cx.threads(), precision);
    ef::Batch largest;
    for (int i = 0; i < 4; ++i) largest.add(std::vector<ef::TokenId>(64, 5));
    (void)model(cx, largest);
    const ef::Rng rng(9);
    const long before = resident();
    long most = 0;
    for (std::uint64_t shape = 0; shape < 10000; ++shape) {
      const ef::Batch batch = random_batch(rng, shape, 64);
      allocations = 0;
      counting = true;
      (void)model(cx, batch);
      counting = false;
      most = std::max(most, allocations.load());
    }
    EXPECT_EQ(most, 0) << name_of(precision);
    EXPECT_LE(resident() - before, 1024) << name_of(precision);
  }
}

}  // namespace allocation_test
