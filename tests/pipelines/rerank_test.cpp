// Reranking against sentence-transformers' CrossEncoder in float64, for every kind of folder; and
// what it refuses.
#include "eigenformer/pipelines/rerank.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "classification_fixture.hpp"

namespace rerank_test {

namespace ef = eigenformer;
using ef::ClassificationFunction;
using ef::RankedDocument;
using namespace ef::testing_classification;

/// Scores of each document, and the order wherever neighbours differ by more than rounding.
template <class Scalar>
void expect_parity(double tolerance) {
  const std::vector<std::string> documents = texts();
  const std::vector<std::string> queries = texts("queries");
  std::size_t count = 0;
  for (const auto& [name, json] : cases("rerank").items()) {
    const CaseFolder folder("rerank", name);
    auto rerank = ef::BasicRerank<Scalar>::from_pretrained(folder.path(), ef::Context(2));
    for (std::size_t q = 0; q < queries.size(); ++q) {
      const auto ranked = rerank(queries[q], documents);
      const ef::Json& expected = json["expected"][q];
      ASSERT_EQ(ranked.size(), expected.size());
      std::vector<double> scores(documents.size());
      for (const ef::Json& hit : expected) scores[hit[0].get<std::size_t>()] = hit[1].get<double>();
      for (std::size_t i = 0; i < ranked.size(); ++i, ++count) {
        const double scale = std::max(1.0, std::abs(ranked[i].score));
        EXPECT_NEAR(ranked[i].score, scores[static_cast<std::size_t>(ranked[i].document)],
                    tolerance * scale)
            << name << ", query " << q << ", document " << ranked[i].document;
        EXPECT_NEAR(ranked[i].score, expected[i][1].get<double>(), tolerance * scale)
            << name << ", query " << q << ", place " << i;
      }
      const auto best = rerank(queries[q], documents, {.top_k = 3, .batch_tokens = 50});
      ASSERT_EQ(best.size(), 3u);
      for (std::size_t i = 0; i < best.size(); ++i) {
        EXPECT_EQ(best[i].document, ranked[i].document);
        EXPECT_NEAR(best[i].score, ranked[i].score, 1e-12);
      }
    }
  }
  std::printf("%zu folders, %zu scores\n", cases("rerank").size(), count);
}

TEST(Rerank, DoubleIsCrossEncoder) { expect_parity<double>(1e-11); }
TEST(Rerank, FloatIsCrossEncoder) { expect_parity<float>(1e-5); }

TEST(Rerank, EqualScoresGoByPlace) {
  const CaseFolder folder("rerank", "plain");
  auto rerank = ef::Rerank::from_pretrained(folder.path());
  const std::vector<std::string> documents = {"light", "God", "light", "", "God", "light"};
  const auto ranked = rerank("In the beginning", documents);
  ASSERT_EQ(ranked.size(), 6u);
  for (std::size_t i = 1; i < ranked.size(); ++i) {
    ASSERT_GE(ranked[i - 1].score, ranked[i].score);
    if (ranked[i - 1].score == ranked[i].score) {
      EXPECT_LT(ranked[i - 1].document, ranked[i].document);
    }
  }
  EXPECT_TRUE(rerank("query", std::vector<std::string>{}).empty());
  EXPECT_THROW((void)rerank("query", documents, {.top_k = -1}), ef::Error);
  EXPECT_THROW((void)rerank("query", documents, {.max_length = 3}), ef::ConfigError);
}

TEST(Rerank, ReadsWhatFoldersSay) {
  const auto config = [](const char* name) {
    const CaseFolder folder("rerank", name);
    return ef::Rerank::from_pretrained(folder.path()).config();
  };
  EXPECT_EQ(config("plain").activation, ClassificationFunction::sigmoid);
  EXPECT_EQ(config("older_identity").activation, ClassificationFunction::none);
  EXPECT_EQ(config("prompt").prompt, "query: ");
  EXPECT_EQ(config("short").max_seq_length, 11);
}

TEST(Rerank, RefusesByName) {
  const CaseFolder three("text", "single_label");
  EXPECT_THROW((void)ef::Rerank::from_pretrained(three.path()), ef::ConfigError);
  struct Refusal {
    const char* file;
    const char* content;
    const char* named;
  };
  for (const Refusal& refusal : {
           Refusal{"config_sentence_transformers.json",
                   R"({"activation_fn":"torch.nn.modules.activation.Tanh"})", "Tanh"},
           {"config_sentence_transformers.json", R"({"activation_fn":"mine.Sigmoid"})", "mine"},
           {"config_sentence_transformers.json", R"({"activation_fn":1})", "activation_fn"},
           {"config_sentence_transformers.json", R"({"default_prompt_name":"x"})", "prompt"},
           {"modules.json", "[]", "modules.json"},
           {"modules.json", R"([{"type":"sentence_transformers.models.Pooling"}])", "Pooling"},
           {"modules.json",
            R"([{"type":"sentence_transformers.models.Transformer","path":"0_Transformer"}])",
            "0_Transformer"},
           {"sentence_bert_config.json", R"({"transformer_task":"fill-mask"})", "fill-mask"},
           {"sentence_bert_config.json", R"({"do_lower_case":true})", "do_lower_case"},
       }) {
    ef::Json json = cases("rerank").at("short");
    json["files"][refusal.file] = ef::Json::parse(refusal.content);
    if (json["files"][refusal.file].is_object()) {
      json["files"][refusal.file]["model_type"] = "CrossEncoder";
    }
    const CaseFolder folder("rerank", "short", json);
    try {
      (void)ef::Rerank::from_pretrained(folder.path());
      ADD_FAILURE() << refusal.file << " " << refusal.content << " is accepted";
    } catch (const ef::Error& problem) {
      EXPECT_NE(std::string(problem.what()).find(refusal.named), std::string::npos)
          << problem.what();
    }
  }
}

TEST(Rerank, ReducedPrecision) {
  const CaseFolder folder("rerank", "plain");
  auto rerank = ef::Rerank::from_pretrained(folder.path());
  const std::vector<std::string> documents = texts();
  std::vector<double> scores(documents.size());
  for (const RankedDocument& hit : rerank("God", documents)) {
    scores[static_cast<std::size_t>(hit.document)] = hit.score;
  }
  for (const ef::Precision precision : {ef::Precision::bf16, ef::Precision::int8}) {
    auto narrow = ef::Rerank::from_pretrained(folder.path(), ef::Context(), precision);
    for (const RankedDocument& hit : narrow("God", documents)) {
      EXPECT_NEAR(hit.score, scores[static_cast<std::size_t>(hit.document)], 0.1) << hit.document;
    }
  }
}

}  // namespace rerank_test
