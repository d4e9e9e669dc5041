#include "eigenformer/pipelines/fill_mask.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fill_mask_test {

namespace ef = eigenformer;

ef::FillMask& fill() {
  static auto made = ef::FillMask::from_pretrained(EIGENFORMER_EXAMPLES "/model");
  return made;
}

const std::string genesis = "In the beginning God created the <mask> and the earth.";

TEST(FillMask, GuessesAreProbabilitiesBestFirst) {
  const auto guesses = fill()(genesis, {.top_k = 10});
  ASSERT_EQ(guesses.size(), 10u);
  double sum = 0;
  for (std::size_t i = 0; i < guesses.size(); ++i) {
    if (i > 0) {
      EXPECT_LE(guesses[i].score, guesses[i - 1].score);
    }
    EXPECT_EQ(fill().tokenizer().decode({guesses[i].id}, false), guesses[i].token);
    sum += guesses[i].score;
  }
  EXPECT_GT(sum, 0.0);
  EXPECT_LE(sum, 1.0 + 1e-5);
}

TEST(FillMask, TheWholeVocabularySumsToOne) {
  const auto vocabulary = fill().tokenizer().vocab_size();
  const auto guesses = fill()(genesis, {.top_k = 10 * vocabulary});
  ASSERT_EQ(static_cast<ef::Index>(guesses.size()), vocabulary);
  double sum = 0;
  for (const auto& guess : guesses) sum += guess.score;
  EXPECT_NEAR(sum, 1.0, 1e-4);
}

TEST(FillMask, SequenceIsTheTextWithTheTokenFilledIn) {
  const auto guesses = fill()(genesis, {.targets = {" heaven"}});
  ASSERT_EQ(guesses.size(), 1u);
  EXPECT_EQ(guesses[0].token, " heaven");
  EXPECT_EQ(guesses[0].sequence, "In the beginning God created the heaven and the earth.");
}

TEST(FillMask, SeveralMasksKeepEachOther) {
  const auto masks = fill().all("The <mask> of the <mask>.", {.top_k = 2});
  ASSERT_EQ(masks.size(), 2u);
  EXPECT_EQ(masks[0].size(), 2u);
  EXPECT_NE(masks[0][0].sequence.find("<mask>"), std::string::npos);
  EXPECT_THROW((void)fill()("The <mask> of the <mask>."), ef::Error);
}

TEST(FillMask, TargetsRestrictButDoNotRescale) {
  const auto all = fill()(genesis, {.top_k = fill().tokenizer().vocab_size()});
  const auto targets = fill()(genesis, {.targets = {" heaven", " sea", " heaven"}});
  ASSERT_EQ(targets.size(), 2u);  // the repeated one counts once
  for (const auto& target : targets) {
    const auto same = std::find_if(all.begin(), all.end(),
                                   [&](const auto& guess) { return guess.id == target.id; });
    ASSERT_NE(same, all.end());
    EXPECT_EQ(same->score, target.score);
  }
  // Not one token: its first piece stands for it.
  const auto piece = fill()(genesis, {.targets = {" heavenzzzz"}});
  EXPECT_TRUE(std::string(" heavenzzzz").starts_with(piece[0].token));
  EXPECT_THROW((void)fill()(genesis, {.targets = {""}}), ef::Error);
}

TEST(FillMask, LogitsAtTheMaskEqualThoseOfAllTokens) {
  ef::Context cx(2);
  const auto& model = fill().model();
  ef::Batch batch =
      fill().tokenizer().encode_batch({"Let there be <mask>.", "A longer <mask> text"});
  const ef::Tensor<float> every = model(cx, batch);
  const std::vector<ef::Index> positions{1, batch.tokens() - 2};
  const ef::Tensor<float> some = model(cx, batch, positions);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto row = static_cast<ef::Index>(i);
    EXPECT_TRUE(some.matrix().row(row).isApprox(every.matrix().row(positions[i]), 1e-5f));
  }
}

TEST(FillMask, RefusesWhatItCannotFill) {
  EXPECT_THROW((void)fill()("No mask here."), ef::Error);
  EXPECT_THROW((void)fill()(genesis, {.top_k = 0}), ef::Error);
  std::string long_text;
  for (int i = 0; i < 2000; ++i) long_text += "word ";
  EXPECT_THROW((void)fill()("<mask> " + long_text), ef::ShapeError);
  EXPECT_EQ(fill()("<mask> " + long_text, {.max_length = 64}).size(), 5u);
  EXPECT_THROW((void)fill()(long_text + "<mask>", {.max_length = 64}), ef::Error);
  EXPECT_THROW((void)ef::FillMask::from_pretrained("no/such/folder"), ef::IoError);
}

TEST(FillMask, CopiesShareTheModelAndAgree) {
  ef::FillMask copy = fill();
  EXPECT_EQ(&copy.model(), &fill().model());
  EXPECT_EQ(copy(genesis)[0].score, fill()(genesis)[0].score);
}

}  // namespace fill_mask_test
