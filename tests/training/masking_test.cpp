// The law of dynamic masking, and how a corpus becomes blocks.
#include <algorithm>
#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "eigenformer/training/corpus.hpp"

namespace masking_test {

namespace ef = eigenformer;
using ef::Index;
using ef::TokenId;

constexpr TokenId vocabulary = 1000;
constexpr TokenId mask = 999;

std::vector<TokenId> text_of(Index length) {
  std::vector<TokenId> text{0};
  for (Index i = 0; i < length - 2; ++i) text.push_back(static_cast<TokenId>(10 + i % 900));
  text.push_back(2);
  return text;
}

ef::MaskedBatch masked(const ef::Masking& masking, const std::vector<TokenId>& text, Index texts,
                       std::uint64_t epoch = 0) {
  ef::MaskedBatch batch;
  for (Index i = 0; i < texts; ++i) {
    masking.add(batch, text, epoch, static_cast<std::uint64_t>(i));
  }
  return batch;
}

ef::Corpus corpus_of(const std::vector<std::vector<Index>>& documents) {
  ef::Corpus corpus(0, 2);
  TokenId next = 10;
  for (const auto& document : documents) {
    for (const Index size : document) {
      std::vector<TokenId> sentence(static_cast<std::size_t>(size));
      for (TokenId& id : sentence) id = next++;
      corpus.add_sentence(sentence);
    }
    corpus.end_document();
  }
  return corpus;
}

TEST(Masking, FollowsTheLaw) {
  const ef::Masking masking({.mask_token = mask, .vocab_size = vocabulary}, 7);
  const auto text = text_of(30);
  const Index texts = 20000;
  const ef::MaskedBatch batch = masked(masking, text, texts);
  ASSERT_EQ(batch.positions.size(), batch.labels.size());
  std::vector<Index> at_position(text.size());
  std::array<Index, 3> kinds{};  // mask, same, other
  std::vector<Index> per_text(static_cast<std::size_t>(texts));
  Index last = -1;
  for (std::size_t i = 0; i < batch.positions.size(); ++i) {
    ASSERT_GT(batch.positions[i], last);  // none twice
    last = batch.positions[i];
    const Index place = last % 30;
    ASSERT_EQ(batch.labels[i], text[static_cast<std::size_t>(place)]);
    ++at_position[static_cast<std::size_t>(place)];
    ++per_text[static_cast<std::size_t>(last / 30)];
    const TokenId shown = batch.batch.ids[static_cast<std::size_t>(last)];
    ++kinds[shown == mask ? 0 : shown == batch.labels[i] ? 1 : 2];
    ASSERT_TRUE(shown >= 4 || shown == batch.labels[i]) << "a special token as replacement";
  }
  // 0.15 * 30 = 4.5: 4 or 5 in each text, alike often.
  for (const Index n : per_text) ASSERT_TRUE(n == 4 || n == 5);
  const auto all = static_cast<double>(batch.positions.size());
  EXPECT_NEAR(all / static_cast<double>(texts), 4.5, 0.02);
  for (const Index n : at_position) EXPECT_NEAR(static_cast<double>(n) / texts, 0.15, 0.011);
  EXPECT_NEAR(static_cast<double>(kinds[0]) / all, 0.8, 0.006);
  EXPECT_NEAR(static_cast<double>(kinds[1]) / all, 0.1, 0.005);
  EXPECT_NEAR(static_cast<double>(kinds[2]) / all, 0.1, 0.005);
}

TEST(Masking, IsDrawnAnewInEachEpochAndTheSameForTheSameNumbers) {
  const ef::Masking masking({.mask_token = mask, .vocab_size = vocabulary}, 7);
  const ef::Masking other({.mask_token = mask, .vocab_size = vocabulary}, 8);
  const auto text = text_of(200);
  const ef::MaskedBatch first = masked(masking, text, 2);
  EXPECT_EQ(masked(masking, text, 2).batch.ids, first.batch.ids);
  EXPECT_NE(masked(masking, text, 2, 1).positions, first.positions);
  EXPECT_NE(masked(other, text, 2).positions, first.positions);
  // Text number 1 is masked alike in whatever batch it comes.
  ef::MaskedBatch alone;
  masking.add(alone, text, 0, 1);
  EXPECT_TRUE(
      std::equal(alone.batch.ids.begin(), alone.batch.ids.end(), first.batch.ids.begin() + 200));
  EXPECT_FALSE(std::equal(alone.batch.ids.begin(), alone.batch.ids.end(), first.batch.ids.begin()));
}

TEST(Masking, TakesWholeWords) {
  ef::MaskingOptions options{.mask_token = mask, .vocab_size = vocabulary};
  options.word_starts.resize(vocabulary);
  for (std::size_t i = 0; i < vocabulary; ++i) options.word_starts[i] = i < 4 || i % 3 == 0;
  const ef::Masking masking(options, 3);
  const auto text = text_of(92);  // 30 words of up to three tokens between two special ones
  const ef::MaskedBatch batch = masked(masking, text, 500);
  std::vector<std::uint8_t> chosen(batch.batch.ids.size());
  for (const Index at : batch.positions) chosen[static_cast<std::size_t>(at)] = 1;
  Index words = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto id = static_cast<std::size_t>(text[i % text.size()]);
    if (options.word_starts[id] != 0) {
      words += chosen[i];
      continue;
    }
    const bool begins = i % text.size() == 0;
    if (!begins && i % text.size() > 1) {
      ASSERT_EQ(chosen[i], chosen[i - 1]) << i;
    }
    // All of a word is shown as the mask, or nothing of it.
    if (i % text.size() > 1 && chosen[i] != 0) {
      ASSERT_EQ(batch.batch.ids[i] == mask, batch.batch.ids[i - 1] == mask) << i;
    }
  }
  EXPECT_NEAR(static_cast<double>(words) / 500, 0.15 * 33, 0.5);
}

TEST(Masking, RefusesWhatCannotBe) {
  const ef::MaskingOptions options{.mask_token = mask, .vocab_size = vocabulary};
  const ef::Masking masking(options, 1);
  ef::MaskedBatch batch;
  EXPECT_THROW(masking.add(batch, std::vector<TokenId>{0, mask, 2}, 0, 0), ef::FormatError);
  EXPECT_THROW(masking.add(batch, std::vector<TokenId>{0, 1000, 2}, 0, 0), ef::ShapeError);
  EXPECT_THROW(masking.add(batch, std::vector<TokenId>{0, -1, 2}, 0, 0), ef::ShapeError);
  for (const auto& change : std::vector<void (*)(ef::MaskingOptions&)>{
           [](ef::MaskingOptions& o) { o.probability = 1.5; },
           [](ef::MaskingOptions& o) { o.probability = std::nan(""); },
           [](ef::MaskingOptions& o) { o.random_share = 0.3; },
           [](ef::MaskingOptions& o) { o.vocab_size = 4; },
           [](ef::MaskingOptions& o) { o.word_starts = {1}; }}) {
    ef::MaskingOptions wrong = options;
    change(wrong);
    EXPECT_THROW(ef::Masking(wrong, 1), ef::ConfigError);
  }
}

TEST(Corpus, FullSentencesCrossDocumentsWithASeparator) {
  const ef::Corpus corpus = corpus_of({{2, 1}, {1, 3}});
  EXPECT_EQ(corpus.tokens(), 11);
  EXPECT_EQ(corpus.sentences(), 4);
  EXPECT_EQ(corpus.documents(), 2);
  using Blocks = std::vector<std::vector<TokenId>>;
  EXPECT_EQ(corpus.blocks(9, ef::BlockMode::full_sentences),
            (Blocks{{0, 10, 11, 2, 12, 2, 2, 13, 2}, {0, 14, 15, 16, 2}}));
  EXPECT_EQ(corpus.blocks(8, ef::BlockMode::full_sentences),
            (Blocks{{0, 10, 11, 2, 12, 2}, {0, 13, 2, 14, 15, 16, 2}}));
  EXPECT_EQ(corpus.blocks(9, ef::BlockMode::doc_sentences),
            (Blocks{{0, 10, 11, 2, 12, 2}, {0, 13, 2, 14, 15, 16, 2}}));
  EXPECT_EQ(corpus.blocks(512, ef::BlockMode::full_sentences),
            (Blocks{{0, 10, 11, 2, 12, 2, 2, 13, 2, 14, 15, 16, 2}}));
  EXPECT_THROW((void)corpus.blocks(2, ef::BlockMode::full_sentences), ef::ConfigError);
}

TEST(Corpus, NoTokenIsLostAndNoBlockTooLong) {
  ef::Draws draws(ef::Rng(5), 0);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<Index>> documents(static_cast<std::size_t>(1 + draws.below(6)));
    for (auto& document : documents) {
      for (Index i = draws.below(5); i >= 0; --i) document.push_back(1 + draws.below(20));
    }
    const ef::Corpus corpus = corpus_of(documents);
    const Index length = 3 + draws.below(20);
    for (const auto mode : {ef::BlockMode::full_sentences, ef::BlockMode::doc_sentences}) {
      TokenId next = 10;
      for (const auto& block : corpus.blocks(length, mode)) {
        ASSERT_LE(static_cast<Index>(block.size()), length);
        ASSERT_GT(block.size(), 1u);
        ASSERT_EQ(block.front(), 0);
        for (std::size_t i = 1; i < block.size(); ++i) {
          if (block[i] == 2) continue;
          ASSERT_EQ(block[i], next++);
        }
      }
      ASSERT_EQ(next, 10 + corpus.tokens() - corpus.sentences());
    }
  }
}

TEST(Corpus, OrderIsAPermutationOfItsOwnInEachEpoch) {
  const auto order = ef::shuffled(1000, 3, 0);
  EXPECT_EQ(ef::shuffled(1000, 3, 0), order);
  EXPECT_NE(ef::shuffled(1000, 3, 1), order);
  EXPECT_NE(ef::shuffled(1000, 4, 0), order);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (Index i = 0; i < 1000; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(ef::shuffled(0, 3, 0).empty());
}

}  // namespace masking_test
