// One const model serves many threads: each has a Context of its own, and all get the same bits.
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/eigenformer.hpp"

namespace ef = eigenformer;

TEST(ManyThreads, ShareOneModel) {
  const std::string folder = EIGENFORMER_EXAMPLES "/model";
  const auto tokenizer = ef::Tokenizer::from_pretrained(folder);
  const auto model = ef::RobertaForMaskedLM<float>::from_pretrained(folder);
  const auto answer = [&] {
    ef::Context cx;
    const ef::Batch batch = tokenizer.encode_batch({"God created the <mask>.", "Let there be"});
    return Eigen::MatrixXf(model(cx, batch).matrix());
  };

  const Eigen::MatrixXf expected = answer();
  std::vector<Eigen::MatrixXf> answers(6);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : answers) {
      threads.emplace_back([&answer, &mine] {
        for (int repeat = 0; repeat < 3; ++repeat) mine = answer();
      });
    }
  }
  for (const auto& mine : answers) EXPECT_EQ(mine, expected);
}

TEST(ManyThreads, CopiesOfAPipelineShareItsModel) {
  ef::FillMask fill = ef::FillMask::from_pretrained(EIGENFORMER_EXAMPLES "/model");
  const std::string text = "In the beginning God created the <mask> and the earth.";
  const std::string expected = fill(text).front().token;
  std::vector<std::string> tokens(6);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : tokens) {
      threads.emplace_back(
          [copy = fill, &text, &mine]() mutable { mine = copy(text).front().token; });
    }
  }
  for (const auto& mine : tokens) EXPECT_EQ(mine, expected);
}
