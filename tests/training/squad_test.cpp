// SQuAD's figures against the official algorithm, to the last bit, through the fixtures that
// tests/oracle/metrics_fixtures.py made.
#include "eigenformer/training/metrics/squad.hpp"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../fnv.hpp"
#include "../messages.hpp"
#include "metrics_support.hpp"

namespace eigenformer::squad_test {
TEST(SquadMetrics, NormalizedAnswers) {
  const Json cases = tests::metrics_fixture("squad_normalized");
  ASSERT_GT(cases.size(), 450U);
  for (const Json& entry : cases) {
    EXPECT_EQ(normalize_answer(entry[0].get<std::string>()), entry[1].get<std::string>())
        << entry.dump();
  }
}

TEST(SquadMetrics, NormalizedInvalidUtf8) {
  EXPECT_EQ(normalize_answer("The\xFF cat \xC3"), "\xEF\xBF\xBD cat \xEF\xBF\xBD");
}

TEST(SquadMetrics, NormalizesEveryCodePointAsPython) {
  const Json expected = tests::metrics_fixture("squad_unicode")[0];
  std::vector<bool> unknown(0x110000);
  for (const Json& range : expected["unknown"]) {
    for (auto c = range[0].get<std::size_t>(); c < range[1].get<std::size_t>(); ++c) {
      unknown[c] = true;
    }
  }
  for (std::size_t block = 0; block < expected["blocks"].size(); ++block) {
    tests::Fnv digest;
    for (std::size_t c = block * 4096; c < (block + 1) * 4096; ++c) {
      if (unknown[c]) continue;
      std::string letter;
      detail::append_utf8(letter, static_cast<char32_t>(c));
      digest.bytes(normalize_answer("a" + letter + "the x" + letter + "\u03A3 \u03B1\u03A3" +
                                    letter + "\u03B2"));
    }
    EXPECT_EQ(digest.hex(), expected["blocks"][block].get<std::string>())
        << "code points from " << block * 4096;
  }
}

std::vector<SquadExample> read_examples(const Json& questions) {
  std::vector<SquadExample> examples;
  for (const Json& question : questions) {
    examples.push_back(
        {question["prediction"], question["answers"], question["probability"].get<double>()});
  }
  return examples;
}

void expect_totals(const SquadScores& scores, const Json& expected) {
  EXPECT_EQ(scores.exact_match, expected[0].get<double>());
  EXPECT_EQ(scores.f1, expected[1].get<double>());
  EXPECT_EQ(scores.total, expected[2].get<Index>());
}

TEST(SquadMetrics, Totals) {
  const Json cases = tests::metrics_fixture("squad");
  std::size_t of_1 = 0, of_2 = 0;
  for (const Json& entry : cases) {
    SCOPED_TRACE(entry.dump());
    const std::vector<SquadExample> examples = read_examples(entry["questions"]);
    if (entry.contains("squad1")) {
      ++of_1;
      expect_totals(squad_scores(examples), entry["squad1"]);
    }
    for (const Json& expected : entry["squad2"]) {
      ++of_2;
      const Squad2Scores scores = squad2_scores(examples, expected["threshold"]);
      expect_totals(scores.all, expected["all"]);
      expect_totals(scores.has_answer, expected["has_answer"]);
      expect_totals(scores.no_answer, expected["no_answer"]);
      EXPECT_EQ(scores.best_exact_match, expected["best_exact"][0].get<double>());
      EXPECT_EQ(scores.best_exact_match_threshold, expected["best_exact"][1].get<double>());
      EXPECT_EQ(scores.best_f1, expected["best_f1"][0].get<double>());
      EXPECT_EQ(scores.best_f1_threshold, expected["best_f1"][1].get<double>());
    }
  }
  EXPECT_GT(of_1, 100U);
  EXPECT_GT(of_2, 170U);
}

TEST(SquadMetrics, NoWordsAtAll) {
  const std::vector<SquadExample> examples = {{"the", {"A."}}};
  EXPECT_EQ(squad_scores(examples).exact_match, 100);
  EXPECT_EQ(squad_scores(examples).f1, 0);  // 1.1 counts common words alone
  EXPECT_EQ(squad2_scores(examples).all.f1, 100);
}

TEST(SquadMetrics, Refuse) {
  EXPECT_THROW((void)squad_scores({}), ShapeError);
  EXPECT_THROW((void)squad2_scores({}), ShapeError);
  const std::vector<SquadExample> unanswerable = {{"x", {"x"}}, {"", {}}};
  EXPECT_EQ(tests::message_of<ShapeError>([&] { (void)squad_scores(unanswerable); }),
            "SQuAD 1.1: example 1 has no answers; for unanswerable questions use squad2_scores");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW((void)squad2_scores(std::vector<SquadExample>{{"x", {"x"}, nan}}), Error);
}

}  // namespace eigenformer::squad_test
