// SpanBERT's pre-training: spans against a second implementation of the law, the span boundary
// objective and updates against PyTorch in float64 (tests/oracle/spanbert_pretraining_fixtures.py).
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "eigenformer/training/pretraining.hpp"

#include "../messages.hpp"

namespace spanbert_pretraining_test {

namespace ef = eigenformer;
using ef::Index;
using ef::TokenId;
using ef::tests::expect_parts;
using ef::tests::message_of;
using Text = std::vector<TokenId>;

const std::string fixtures = EIGENFORMER_FIXTURES "/spanbert_pretraining";
constexpr TokenId cls = 0, sep = 2, mask = 99, vocabulary = 100;

ef::MaskingOptions span_options() {
  return {.mask_token = mask,
          .vocab_size = vocabulary,
          .law = ef::MaskingLaw::span,
          .kept = {cls, sep}};
}

/// The different spans of a batch, in order.
std::vector<std::pair<Index, Index>> spans_of(const ef::MaskedBatch& masked) {
  std::vector<std::pair<Index, Index>> spans;
  for (const ef::RowRange span : masked.spans) {
    if (spans.empty() || spans.back().first != span.begin) spans.push_back({span.begin, span.end});
  }
  return spans;
}

TEST(SpanMasking, SpansOfARealTextAreThoseOfTheLaw) {
  const auto tokenizer = ef::Tokenizer::from_pretrained(EIGENFORMER_EXAMPLES "/model");
  ef::Corpus corpus(tokenizer.cls_token_id(), tokenizer.sep_token_id());
  corpus.add_file(tokenizer, EIGENFORMER_FIXTURES "/text/verses.txt");
  ef::MaskingOptions options = span_options();
  options.mask_token = tokenizer.mask_token_id();
  options.vocab_size = static_cast<TokenId>(tokenizer.vocab_size());
  options.random_counts = corpus.token_counts(options.vocab_size);
  options.word_starts = ef::word_starts(tokenizer);
  options.kept = {tokenizer.cls_token_id(), tokenizer.sep_token_id()};
  const ef::Json cases = ef::read_json(fixtures + "/spans.json");
  ASSERT_EQ(cases.size(), 3u);
  for (const ef::Json& wanted : cases) {
    const auto copy = wanted.at("copy").get<std::uint64_t>();
    const ef::Masking masking(options, wanted.at("seed").get<std::uint64_t>());
    const auto blocks = corpus.blocks(wanted.at("length"), ef::BlockMode::full_sentences);
    ASSERT_EQ(blocks.size(), wanted.at("blocks").size());
    ef::MaskedBatch masked;
    for (std::size_t number = 0; number < blocks.size(); ++number) {
      Text expected = blocks[number];
      const Index first = masked.batch.tokens();
      std::vector<std::pair<Index, Index>> spans;
      for (const ef::Json& span : wanted.at("blocks").at(number)) {
        const auto begin = span.at(0).get<Index>(), end = span.at(1).get<Index>();
        spans.push_back({first + begin, first + end});
        for (Index i = begin; i < end; ++i) {
          expected[static_cast<std::size_t>(i)] = span.at(static_cast<std::size_t>(2 + i - begin));
        }
      }
      const std::size_t before = spans_of(masked).size(), hidden = masked.labels.size();
      masking.add(masked, blocks[number], copy, number);
      ASSERT_EQ(masked.batch.part(static_cast<Index>(number), static_cast<Index>(number) + 1).ids,
                expected);
      auto found = spans_of(masked);
      found.erase(found.begin(), found.begin() + static_cast<Index>(before));
      ASSERT_EQ(found, spans);
      for (std::size_t i = hidden; i < masked.labels.size(); ++i) {
        ASSERT_EQ(masked.labels[i],
                  blocks[number][static_cast<std::size_t>(masked.positions[i] - first)]);
      }
    }
    ASSERT_EQ(masked.spans.size(), masked.positions.size());
  }
}

TEST(SpanMasking, StartsAreWordsOfUniformTokens) {
  ef::MaskingOptions options = span_options();
  options.probability = 1e-6;  // rounded up to a single token, the first of its span
  options.word_starts.assign(vocabulary, 1);
  options.word_starts[50] = 0;
  Text text(102, 50);
  text.front() = cls;
  text.back() = sep;
  for (std::size_t i = 1; i < 101; i += 3) text[i] = 30;  // words of three tokens; the last has one
  const ef::Masking masking(options, 3);
  ef::MaskedBatch masked;
  for (std::uint64_t i = 0; i < 34000; ++i) masking.add(masked, text, 0, i);
  std::map<Index, double> count;
  for (const Index row : masked.positions) ++count[row % 102];
  ASSERT_EQ(count.size(), 34u);
  for (const auto& [place, times] : count) {
    ASSERT_EQ(place % 3, 1);
    EXPECT_NEAR(times / 34000, place == 100 ? 0.01 : 0.03, 0.004);
  }
}

TEST(SpanMasking, LengthsAreGeometric) {
  ef::MaskingOptions options = span_options();
  options.probability = 0.002;  // spans are many, so that few are cut, but hardly ever meet
  const Text text(300000, 50);
  const ef::Masking masking(options, 4);
  std::array<double, 10> count{};
  double all = 0, sum = 0;
  for (std::uint64_t i = 0; i < 60; ++i) {
    ef::MaskedBatch masked;
    masking.add(masked, text, 0, i);
    ASSERT_EQ(masked.positions.size(), 600u);
    for (const auto& [begin, end] : spans_of(masked)) {
      if (end - begin > 10) continue;  // two that met
      ++count[static_cast<std::size_t>(end - begin - 1)];
      ++all;
      sum += static_cast<double>(end - begin);
    }
  }
  EXPECT_NEAR(sum / all, 3.8, 0.1);
  for (std::size_t i = 0; i < 10; ++i) {
    const double share = 0.2 * std::pow(0.8, i) / (1 - std::pow(0.8, 10));
    EXPECT_NEAR(count[i] / all, share, 0.012) << i + 1;
  }
}

TEST(SpanMasking, FollowsTheLaw) {
  ef::MaskingOptions options = span_options();
  options.word_starts.assign(vocabulary, 1);
  options.word_starts[50] = 0;
  options.random_counts.assign(vocabulary, 0);
  options.random_counts[70] = 3;
  options.random_counts[71] = 1;
  const ef::Masking masking(options, 7);
  std::array<double, 3> kinds{};  // of spans: mask, random, same
  std::map<TokenId, double> random;
  double spans = 0;
  ef::Draws draws(ef::Rng(5), 0);
  for (std::uint64_t round = 0; round < 6000; ++round) {
    Text text{cls};
    const Index sentences = 1 + draws.below(4);
    for (Index i = 0; i < sentences; ++i) {
      for (Index j = 1 + draws.below(30); j > 0; --j) text.push_back(draws.below(3) == 0 ? 30 : 50);
      text.push_back(sep);
    }
    ef::MaskedBatch masked;
    masked.batch.add(Text{cls, 30, sep});
    const Index first = masked.batch.tokens();
    masking.add(masked, text, 0, round);
    // The share of the tokens that may be hidden, and none twice.
    const Index words = std::ssize(text) - 1 - sentences;
    ASSERT_EQ(std::ssize(masked.positions), (15 * words + 99) / 100);
    ASSERT_TRUE(std::is_sorted(masked.positions.begin(), masked.positions.end()));
    const std::set<Index> hidden(masked.positions.begin(), masked.positions.end());
    ASSERT_EQ(hidden.size(), masked.positions.size());
    for (std::size_t i = 0; i < masked.labels.size(); ++i) {
      ASSERT_TRUE(masked.labels[i] == 30 || masked.labels[i] == 50);
      ASSERT_GE(masked.positions[i], masked.spans[i].begin);
      ASSERT_LT(masked.positions[i], masked.spans[i].end);
    }
    for (const auto& [begin, end] : spans_of(masked)) {
      // Whole: the tokens at its sides are of the text, and seen.
      ASSERT_TRUE(begin > first && end < masked.batch.tokens());
      ASSERT_FALSE(hidden.contains(begin - 1) || hidden.contains(end));
      std::array<Index, 3> of_span{};
      for (Index row = begin; row < end; ++row) {
        const TokenId shown = masked.batch.ids[static_cast<std::size_t>(row)];
        const TokenId meant = text[static_cast<std::size_t>(row - first)];
        ASSERT_TRUE(shown == mask || shown == meant || shown == 70 || shown == 71) << shown;
        const std::size_t kind = shown == mask ? 0 : shown == meant ? 2 : 1;
        ++of_span[kind];
        if (kind == 1) ++random[shown];
      }
      ++spans;
      for (std::size_t kind = 0; kind < 3; ++kind) {
        kinds[kind] += of_span[kind] == end - begin;  // all of it alike
      }
    }
  }
  EXPECT_EQ(kinds[0] + kinds[1] + kinds[2], spans);
  EXPECT_NEAR(kinds[0] / spans, 0.8, 0.01);
  EXPECT_NEAR(kinds[1] / spans, 0.1, 0.01);
  EXPECT_NEAR(kinds[2] / spans, 0.1, 0.01);
  EXPECT_NEAR(random[70] / (random[70] + random[71]), 0.75, 0.03);
}

TEST(SpanMasking, FollowsFromSeedCopyAndNumber) {
  const Text text(200, 50);
  const auto spans = [&](std::uint64_t seed, std::uint64_t copy, std::uint64_t number) {
    ef::MaskedBatch masked;
    ef::Masking(span_options(), seed).add(masked, text, copy, number);
    return spans_of(masked);
  };
  EXPECT_EQ(spans(1, 0, 0), spans(1, 0, 0));
  EXPECT_NE(spans(1, 0, 0), spans(2, 0, 0));
  EXPECT_NE(spans(1, 0, 0), spans(1, 1, 0));
  EXPECT_NE(spans(1, 0, 0), spans(1, 0, 1));
}

TEST(SpanMasking, TakesAnyTextOrSaysWhatIsWrong) {
  ef::MaskingOptions options = span_options();
  options.probability = 1;  // all that may be hidden
  ef::MaskedBatch masked;
  const ef::Masking all(options, 1);
  for (const Text& text : {Text{}, Text{cls, sep}, Text{cls, 7, 8, sep, 9, sep}, Text{5}}) {
    all.add(masked, text, 0, 0);
  }
  EXPECT_EQ(spans_of(masked), (std::vector<std::pair<Index, Index>>{{3, 5}, {6, 7}, {8, 9}}));
  const auto refused = [&](std::vector<Index> counts, const std::vector<std::string>& parts) {
    options.random_counts = std::move(counts);
    expect_parts(message_of<ef::ConfigError>([&] { (void)ef::Masking(options, 1); }), parts);
  };
  refused({1, 2}, {"2 tokens", "100"});
  refused(std::vector<Index>(100), {"no token"});
  refused(std::vector<Index>(100, -1), {"-1 times"});
  ef::Corpus corpus(cls, sep);
  EXPECT_EQ(corpus.token_counts(2), (std::vector<Index>{0, 0}));
  corpus.add_sentence(Text{4, 3, 4});
  corpus.add_sentence(Text{1});
  EXPECT_EQ(corpus.token_counts(6), (std::vector<Index>{0, 1, 0, 1, 2, 0}));
  expect_parts(message_of<ef::ShapeError>([&] { (void)corpus.token_counts(4); }), {"4"});
}

}  // namespace spanbert_pretraining_test
