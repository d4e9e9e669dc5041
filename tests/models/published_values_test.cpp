// The values that Hugging Face publishes for roberta-base and roberta-large-mnli. They need their
// folders: set EIGENFORMER_ROBERTA_BASE and EIGENFORMER_ROBERTA_LARGE_MNLI to ones with config.json
// and model.safetensors.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/roberta_heads.hpp"

namespace eigenformer::published_values_test {
class PublishedValues : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("EIGENFORMER_ROBERTA_BASE");
    if (folder == nullptr) {
      GTEST_SKIP() << "set EIGENFORMER_ROBERTA_BASE to a folder with the published roberta-base "
                      "(config.json, model.safetensors) to compare with its published values";
    }
    folder_ = folder;
  }

  static Batch text(const std::vector<TokenId>& ids) {
    Batch batch;
    batch.add(ids);
    return batch;
  }

  /// The ids of transformers' integration tests.
  const Batch greeting_ = text({0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2});
  std::string folder_;
};

using Slice = std::vector<std::vector<double>>;

void expect_slice(const Tensor<float>& got, const Slice& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    for (std::size_t j = 0; j < expected[i].size(); ++j) {
      EXPECT_NEAR(got(static_cast<Index>(i), static_cast<Index>(j)), expected[i][j], 1e-4)
          << i << ", " << j;
    }
  }
}

TEST_F(PublishedValues, LastHiddenState) {
  const auto model = RobertaModel<float>::from_pretrained(folder_);
  Context cx;
  const Tensor<float> hidden = model(cx, greeting_);
  ASSERT_EQ(hidden.shape(), Shape({11, 768}));
  expect_slice(hidden,
               {{-0.0231, 0.0782, 0.0074}, {-0.1854, 0.0540, -0.0175}, {0.0548, 0.0799, 0.1687}});
}

TEST_F(PublishedValues, Logits) {
  const auto model = RobertaForMaskedLM<float>::from_pretrained(folder_);
  EXPECT_EQ(parameter_count(model), 124697433);
  Context cx;
  const Tensor<float> logits = model(cx, greeting_);
  ASSERT_EQ(logits.shape(), Shape({11, 50265}));
  expect_slice(
      logits, {{33.8802, -4.3103, 22.7761}, {4.6539, -2.8098, 13.6253}, {1.8228, -3.6898, 8.8600}});
}

/// Ids of the most probable tokens and their probabilities, best first.
std::vector<std::pair<Index, double>> best(const Tensor<float>& logits, std::size_t count) {
  std::vector<std::pair<Index, double>> all;
  double sum = 0;
  for (Index id = 0; id < logits.size(1); ++id) {
    sum += std::exp(static_cast<double>(logits(0, id)));
    all.emplace_back(id, std::exp(static_cast<double>(logits(0, id))));
  }
  std::sort(all.begin(), all.end(), [](auto a, auto b) { return a.second > b.second; });
  all.resize(count);
  for (auto& guess : all) guess.second /= sum;
  return all;
}

TEST_F(PublishedValues, FillMask) {
  const auto model = RobertaForMaskedLM<float>::from_pretrained(folder_);
  Context cx;
  // "Hello I'm a <mask> model." with the model card's answers: male, female, professional, fashion,
  // Russian.
  const std::vector<Index> fifth = {5};
  const auto card = best(model(cx, text({0, 31414, 38, 437, 10, 50264, 1421, 4, 2}), fifth), 5);
  const std::vector<std::pair<Index, double>> answers = {{2943, 0.3306540250778198},
                                                         {2182, 0.04655390977859497},
                                                         {2038, 0.04232972860336304},
                                                         {2734, 0.037216778844594955},
                                                         {1083, 0.03253649175167084}};
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(card[i].first, answers[i].first);
    EXPECT_NEAR(card[i].second, answers[i].second, 1e-4);
  }
  // "The goal of life is <mask>.": happiness, love, peace, freedom, simplicity.
  const std::vector<Index> goal_at = {6};
  const auto goal = best(model(cx, text({0, 133, 724, 9, 301, 16, 50264, 4, 2}), goal_at), 5);
  const std::vector<Index> words = {11098, 657, 1987, 3519, 25342};
  for (std::size_t i = 0; i < words.size(); ++i) EXPECT_EQ(goal[i].first, words[i]);
}

/// As in the test of transformers.
TEST(PublishedMnli, Logits) {
  const char* folder = std::getenv("EIGENFORMER_ROBERTA_LARGE_MNLI");
  if (folder == nullptr) {
    GTEST_SKIP() << "set EIGENFORMER_ROBERTA_LARGE_MNLI to a folder with the published "
                    "roberta-large-mnli to compare with its published values";
  }
  const auto model = RobertaForSequenceClassification<float>::from_pretrained(folder);
  Context cx;
  Batch batch;
  batch.add(std::vector<TokenId>{0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2});
  expect_slice(model(cx, batch), {{-0.9469, 0.3913, 0.5118}});
  EXPECT_EQ(model.config().label(0), "CONTRADICTION");
}

}  // namespace eigenformer::published_values_test
