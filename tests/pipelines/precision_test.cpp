// What reduced precision costs the model that ships: its loss on masked tokens, in nats, where
// every token of some chapters of the King James Bible is masked once.
#include <cmath>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "eigenformer/models.hpp"
#include "eigenformer/tokenizers.hpp"

namespace precision_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Precision;

/// Mean of -log p of the masked tokens, each seventh of every verse at a time.
double loss(Precision precision) {
  const std::string folder = EIGENFORMER_EXAMPLES "/model";
  const auto tokenizer = ef::Tokenizer::from_pretrained(folder);
  const auto model = ef::RobertaForMaskedLM<float>::from_pretrained(
      folder, {.precision = precision, .pack = true});
  ef::Context cx(1);
  std::ifstream text(EIGENFORMER_FIXTURES "/text/verses.txt");
  double sum = 0;
  Index count = 0;
  for (std::string verse; std::getline(text, verse);) {
    const std::vector<ef::TokenId> ids = tokenizer.encode(verse).ids;
    for (std::size_t phase = 0; phase < 7; ++phase) {
      std::vector<ef::TokenId> masked = ids;
      std::vector<Index> positions;
      for (std::size_t i = 1 + phase; i + 1 < ids.size(); i += 7) {
        masked[i] = tokenizer.mask_token_id();
        positions.push_back(static_cast<Index>(i));
      }
      ef::Batch batch;
      batch.add(masked);
      const ef::Tensor<float> logits = model(cx, batch, positions);  // [positions, vocab]
      for (std::size_t i = 0; i < positions.size(); ++i) {
        const auto row = logits.matrix().row(static_cast<Index>(i)).cast<double>().eval();
        const auto right = ids[static_cast<std::size_t>(positions[i])];
        sum += std::log((row.array() - row.maxCoeff()).exp().sum()) + row.maxCoeff() - row(right);
        ++count;
      }
    }
  }
  EXPECT_GT(count, 1500);
  return sum / static_cast<double>(count);
}

TEST(Precision, LossOfTheModelThatShips) {
  const double full = loss(Precision::full);
  const double bf16 = loss(Precision::bf16);
  const double int8 = loss(Precision::int8);
  std::printf("loss: float %.4f, bf16 %+.4f, int8 %+.4f nats\n", full, bf16 - full, int8 - full);
  EXPECT_LT(full, 3.5);
  EXPECT_NEAR(bf16, full, 0.002);
  EXPECT_NEAR(int8, full, 0.01);
}

}  // namespace precision_test
