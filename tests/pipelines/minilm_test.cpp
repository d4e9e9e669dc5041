// The published all-MiniLM-L6-v2 against sentence-transformers in float64. It needs its folder:
// EIGENFORMER_MINILM=$(examples/get_model.sh minilm).
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/pipelines/search.hpp"
#include "eigenformer/pipelines/sentence_embedding.hpp"
#include "eigenformer/training/labelled_files.hpp"
#include "eigenformer/training/metrics/glue.hpp"

namespace minilm_test {

namespace ef = eigenformer;
using ef::Index;

const std::string fixtures = EIGENFORMER_FIXTURES;

/// All texts of the fixture `sentences`, then verses.
std::vector<std::string> texts() {
  auto all =
      ef::read_json(fixtures + "/sentences/texts.json")["texts"].get<std::vector<std::string>>();
  std::ifstream verses(fixtures + "/text/verses.txt");
  std::string line;
  for (int i = 0; i < 64 && std::getline(verses, line); ++i) all.push_back(line);
  return all;
}

class MiniLm : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("EIGENFORMER_MINILM");
    if (folder == nullptr) {
      GTEST_SKIP() << "set EIGENFORMER_MINILM to the folder of all-MiniLM-L6-v2, which "
                      "examples/get_model.sh minilm prints, to compare with its real embeddings";
    }
    folder_ = folder;
    const auto file = ef::SafetensorsFile::open(fixtures + "/minilm/expected.safetensors");
    expected_ = ef::Tensor<float>(ef::Shape{static_cast<Index>(texts().size()), 384});
    file.read<float>("embeddings", {expected_.data(), static_cast<std::size_t>(expected_.numel())});
  }

  std::string folder_;
  ef::Tensor<float> expected_;  // [texts, 384]
};

TEST_F(MiniLm, EmbedsAsSentenceTransformers) {
  const Eigen::MatrixXd expected = expected_.matrix().cast<double>();
  auto exact = ef::BasicSentenceEmbedding<double>::from_pretrained(folder_);
  EXPECT_LE((exact(texts()).matrix() - expected).cwiseAbs().maxCoeff(), 2e-8);  // its rounding
  auto embed = ef::SentenceEmbedding::from_pretrained(folder_);
  EXPECT_LE((embed(texts()).matrix() - expected_.matrix()).cwiseAbs().maxCoeff(), 2e-6f);
}

TEST_F(MiniLm, EveryPrecisionKeepsTheDirection) {
  const auto least_cosine = [&](ef::Precision precision) {
    auto embed = ef::SentenceEmbedding::from_pretrained(folder_, ef::Context(), precision);
    const ef::Tensor<float> rows = embed(texts());
    return rows.matrix().cwiseProduct(expected_.matrix()).rowwise().sum().minCoeff();
  };
  EXPECT_GE(least_cosine(ef::Precision::full), 0.99999f);
  EXPECT_GE(least_cosine(ef::Precision::bf16), 0.9995f);
  EXPECT_GE(least_cosine(ef::Precision::int8), 0.99f);
}

TEST_F(MiniLm, FindsTheSameLines) {
  auto embed = ef::SentenceEmbedding::from_pretrained(folder_);
  const ef::Search search(embed(texts()), texts());
  ef::Context cx;
  const auto hits = search(cx, embed(texts()), 10);
  const Eigen::MatrixXf cosines = expected_.matrix() * expected_.matrix().transpose();
  ASSERT_EQ(hits.size(), texts().size());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    const auto query = cosines.row(static_cast<Index>(i));
    std::vector<float> best(query.begin(), query.end());
    std::ranges::sort(best, std::greater<>());
    ASSERT_EQ(hits[i].size(), 10u);
    for (std::size_t k = 0; k < 10; ++k) {
      EXPECT_NEAR(query(static_cast<Index>(hits[i][k].line)), best[k], 2e-6f) << i << ", " << k;
      EXPECT_NEAR(hits[i][k].score, best[k], 2e-6f) << i << ", " << k;
    }
  }
}

TEST_F(MiniLm, RanksPairsAsSentenceTransformers) {
  const std::string path = EIGENFORMER_SHARED_DATA "/stsb/dev.tsv";
  if (!ef::exists(path)) {
    GTEST_SKIP() << "SKIPPED: no " << path << "; Spearman's correlation was not compared";
  }
  std::vector<std::string> sentences;
  std::vector<double> scores;
  for (const ef::LabelledText& pair : ef::read_labelled_texts(path)) {
    sentences.insert(sentences.end(), {pair.text, pair.pair.value()});
    scores.push_back(std::stod(pair.label));
  }
  const ef::Json expected = ef::read_json(fixtures + "/minilm/stsb.json");
  ASSERT_EQ(scores.size(), expected["pairs"].get<std::size_t>());
  const auto spearman = [&](ef::Precision precision) {
    auto embed = ef::SentenceEmbedding::from_pretrained(folder_, ef::Context(), precision);
    const ef::Tensor<float> embeddings = embed(sentences);
    std::vector<double> cosines;
    for (Index i = 0; i < embeddings.matrix().rows(); i += 2) {
      cosines.push_back(double{embeddings.matrix().row(i).dot(embeddings.matrix().row(i + 1))});
    }
    return ef::spearman_correlation(cosines, scores);
  };
  const double full = spearman(ef::Precision::full);
  EXPECT_NEAR(full, expected["spearman"].get<double>(), 0.0005);
  EXPECT_NEAR(spearman(ef::Precision::bf16), full, 0.003);
  EXPECT_NEAR(spearman(ef::Precision::int8), full, 0.003);
}

}  // namespace minilm_test
