// One const model, tokenizer or index serves many threads: each has a Context of its own, of any
// number of threads, and all get the same bits.
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/eigenformer.hpp"

namespace many_threads_test {

namespace ef = eigenformer;

const std::string folder = EIGENFORMER_EXAMPLES "/model";
const std::string small = EIGENFORMER_FIXTURES "/sentences/encoder";

/// Calls f(thread) on `count` threads at once.
void on_threads(int count, const std::function<void(int)>& f) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&f, i] { f(i); });
}

const std::vector<std::string> texts = {"God created the <mask>.", "Let there be light", "",
                                        "and the evening and the morning were the first day"};

/// Every answer of a model that is fresh for each round, so that all threads meet at its first use,
/// where weights are packed.
template <class Scalar>
void expect_one_answer(std::optional<ef::Precision> precision) {
  const ef::LoadOptions options{.initialize_missing_head = true, .precision = precision};
  using Model = ef::RobertaForMaskedLM<Scalar>;
  const ef::Batch batch = ef::Tokenizer::from_pretrained(small).encode_batch(texts);
  ef::Context alone(1);
  const auto expected = Model::from_pretrained(small, options)(alone, batch).matrix().eval();
  for (int round = 0; round < 4; ++round) {
    const Model model = Model::from_pretrained(small, options);
    on_threads(4, [&](int thread) {
      ef::Context cx(1 + (thread + round) % 3);
      for (int repeat = 0; repeat < 2; ++repeat) {
        EXPECT_EQ(model(cx, batch).matrix(), expected);
      }
    });
  }
}

TEST(ManyThreads, ShareOneModel) {
  const auto tokenizer = ef::Tokenizer::from_pretrained(folder);
  const auto model = ef::RobertaForMaskedLM<float>::from_pretrained(folder);
  const auto answer = [&] {
    ef::Context cx;
    const ef::Batch batch = tokenizer.encode_batch({"God created the <mask>.", "Let there be"});
    return Eigen::MatrixXf(model(cx, batch).matrix());
  };

  const Eigen::MatrixXf expected = answer();
  on_threads(6, [&](int) {
    for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(answer(), expected);
  });
}

TEST(ManyThreads, ShareAModelOfFloat) { expect_one_answer<float>({}); }
TEST(ManyThreads, ShareAModelOfBFloat16) { expect_one_answer<float>(ef::Precision::bf16); }
TEST(ManyThreads, ShareAModelOfInt8) { expect_one_answer<float>(ef::Precision::int8); }
TEST(ManyThreads, ShareAModelOfDouble) { expect_one_answer<double>({}); }

TEST(ManyThreads, ShareATokenizer) {
  const auto tokenizer = ef::Tokenizer::from_pretrained(folder);
  std::vector<std::string> many;
  for (int i = 0; i < 200; ++i)
    many.push_back(ef::concat(texts[static_cast<std::size_t>(i % 4)], " ", i, " \xC3\xA9\xFF"));
  const ef::Batch expected = tokenizer.encode_batch(many);
  on_threads(4, [&](int thread) {
    ef::ThreadPool pool(1 + thread % 3);
    EXPECT_EQ(tokenizer.encode_batch(many, {}, &pool).ids, expected.ids);
    ef::EncodeCache cache;
    for (std::size_t i = 0; i < many.size(); ++i) {
      const ef::RowRange rows = expected.segment(static_cast<ef::Index>(i));
      const std::span ids(expected.ids.data() + rows.begin, expected.ids.data() + rows.end);
      EXPECT_TRUE(std::ranges::equal(tokenizer.encode(many[i], {.cache = &cache}).ids, ids));
      EXPECT_FALSE(tokenizer.decode(ids).empty() && !many[i].empty());
    }
  });
}

TEST(ManyThreads, CopiesOfAPipelineShareItsModel) {
  ef::FillMask fill = ef::FillMask::from_pretrained(folder);
  const std::string text = "In the beginning God created the <mask> and the earth.";
  const std::string expected = fill(text).front().token;
  on_threads(6, [&](int) {
    ef::FillMask copy = fill;
    EXPECT_EQ(copy(text).front().token, expected);
  });
}

TEST(ManyThreads, CopiesOfAnEmbeddingSearchOneIndex) {
  auto embed = ef::SentenceEmbedding::from_pretrained(small, ef::Context(2));
  const ef::Search search(embed(texts), texts);
  ef::Context alone(1);
  const auto expected = search(alone, embed({"light"}), 3);
  on_threads(4, [&](int thread) {
    auto copy = embed;
    ef::Context cx(1 + thread % 3);
    const auto hits = search(cx, copy({"light"}), 3);
    ASSERT_EQ(hits.size(), 1u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(hits[0][i].line, expected[0][i].line);
      EXPECT_EQ(hits[0][i].score, expected[0][i].score);
    }
  });
}

}  // namespace many_threads_test
