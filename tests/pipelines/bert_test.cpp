// Pipelines over BERT's folders against transformers' pipelines, whose scores are float32 made of
// float64 logits.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/pipelines/fill_mask.hpp"
#include "eigenformer/pipelines/question_answering.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"
#include "eigenformer/pipelines/text_classification.hpp"
#include "eigenformer/pipelines/token_classification.hpp"

namespace bert_test {

namespace ef = eigenformer;

const std::string fixtures = EIGENFORMER_FIXTURES "/bert_pipelines/";

const ef::Json& expected(const char* name) {
  static const ef::Json json = ef::read_json(fixtures + "expected.json");
  return json.at(name);
}
std::vector<std::string> texts() { return expected("texts").get<std::vector<std::string>>(); }

TEST(Bert, FillsMasks) {
  auto fill = ef::BasicFillMask<double>::from_pretrained(fixtures + "masked_lm");
  for (std::size_t i = 0; i < expected("masked").size(); ++i) {
    const auto guesses = fill(expected("masked")[i].get<std::string>());
    const ef::Json& truth = expected("masked_lm")[i];
    ASSERT_EQ(guesses.size(), truth.size());
    for (std::size_t j = 0; j < truth.size(); ++j) {
      EXPECT_EQ(guesses[j].id, truth[j][0].get<ef::TokenId>()) << i << ", place " << j;
      EXPECT_NEAR(guesses[j].score, truth[j][1].get<double>(), 1e-7) << i << ", place " << j;
    }
  }
}

/// A folder without modules.json: the mean of the states, special tokens included.
TEST(Bert, EmbedsSentences) {
  auto embed = ef::BasicSentenceEmbedding<double>::from_pretrained(fixtures + "masked_lm");
  const ef::Tensor<double> embeddings = embed(texts());
  const ef::Json& truth = expected("embeddings");
  ASSERT_EQ(embeddings.shape(), ef::Shape({static_cast<ef::Index>(truth.size()), 8}));
  for (ef::Index i = 0; i < embeddings.size(0); ++i) {
    for (ef::Index j = 0; j < embeddings.size(1); ++j) {
      const auto& row = truth[static_cast<std::size_t>(i)];
      EXPECT_NEAR(embeddings(i, j), row[static_cast<std::size_t>(j)].get<double>(), 1e-12);
    }
  }
}

/// Texts, and pairs, which are told apart by their types.
TEST(Bert, ClassifiesTextsAndPairs) {
  auto classify = ef::BasicTextClassification<double>::from_pretrained(fixtures + "sequence");
  const std::vector<std::string> alone = texts();
  const auto pairs = expected("pairs").get<std::vector<std::pair<std::string, std::string>>>();
  std::vector<ef::TextInput> inputs(alone.begin(), alone.end());
  for (const auto& [first, second] : pairs) inputs.emplace_back(first, second);
  const auto labels = classify(inputs, {.top_k = 0});
  const ef::Json& truth = expected("sequence");
  ASSERT_EQ(labels.size(), truth.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ASSERT_EQ(labels[i].size(), truth[i].size());
    for (std::size_t j = 0; j < labels[i].size(); ++j) {
      EXPECT_EQ(labels[i][j].label, truth[i][j][0].get<std::string>()) << i << ", place " << j;
      EXPECT_NEAR(labels[i][j].score, truth[i][j][1].get<double>(), 1e-7) << i << ", place " << j;
    }
  }
}

TEST(Bert, TagsTokens) {
  auto tag = ef::BasicTokenClassification<double>::from_pretrained(fixtures + "token");
  const auto entities =
      tag(texts(), {.aggregation = ef::AggregationStrategy::none, .ignore_labels = {}});
  const ef::Json& truth = expected("token");
  for (std::size_t i = 0; i + 1 < entities.size(); ++i) {  // the last text is not ASCII
    ASSERT_EQ(entities[i].size(), truth[i].size()) << i;
    for (std::size_t j = 0; j < truth[i].size(); ++j) {
      EXPECT_EQ(entities[i][j].type, truth[i][j][0].get<std::string>()) << i << ", token " << j;
      EXPECT_EQ(entities[i][j].start, truth[i][j][1].get<std::size_t>()) << i << ", token " << j;
      EXPECT_EQ(entities[i][j].end, truth[i][j][2].get<std::size_t>()) << i << ", token " << j;
      EXPECT_NEAR(entities[i][j].score, truth[i][j][3].get<double>(), 1e-7) << i;
    }
  }
}

/// The scores that answers are chosen by, of a question and a context with types 0 and 1.
TEST(Bert, ScoresAnswers) {
  auto answer = ef::BasicQuestionAnswering<double>::from_pretrained(fixtures + "question");
  const auto texts = expected("questions").get<std::vector<std::pair<std::string, std::string>>>();
  const std::vector<ef::TextPair> questions(texts.begin(), texts.end());
  answer.for_each_question(questions, {}, [&](std::size_t i, const auto& windows) {
    const ef::Json& truth = expected("question")[i];
    ASSERT_EQ(windows.size(), 1u);
    const std::vector<double>& starts = windows[0].start_logits;
    ASSERT_EQ(starts.size(), truth[0].size());
    for (std::size_t t = 0; t < starts.size(); ++t) {
      EXPECT_NEAR(starts[t], truth[0][t].get<double>(), 1e-12);
      EXPECT_NEAR(windows[0].end_logits[t], truth[1][t].get<double>(), 1e-12);
    }
  });
  for (const auto& [question, context] : texts) {
    const auto found = answer(question, context);
    ASSERT_FALSE(found.empty());
    EXPECT_NE(context.find(found[0].text), std::string::npos);
  }
}

}  // namespace bert_test
