// BERT's pre-training: pairs of segments and their masks against a second implementation of the
// law, updates against PyTorch in float64 (tests/oracle/bert_pretraining_fixtures.py), static
// masks.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "eigenformer/models/bert.hpp"
#include "eigenformer/training/pretraining.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace bert_pretraining_test {

namespace ef = eigenformer;
using ef::Index;
using ef::TokenId;
using ef::tests::expect_parts;
using ef::tests::message_of;
using ef::tests::TemporaryFolder;
using Pairs = std::vector<ef::SegmentPair>;
using Sentence = std::vector<TokenId>;

const std::string fixtures = EIGENFORMER_FIXTURES "/bert_pretraining";
constexpr TokenId cls = 2, sep = 3, mask = 4, first_word = 5, vocabulary = 41;

ef::Corpus corpus_of(const std::vector<std::vector<Sentence>>& documents) {
  ef::Corpus corpus(cls, sep);
  for (const auto& document : documents) {
    for (const Sentence& sentence : document) corpus.add_sentence(sentence);
    corpus.end_document();
  }
  return corpus;
}

/// Documents whose tokens count up, each from 10000 times its number on.
ef::Corpus counting(const std::vector<std::vector<Index>>& documents) {
  std::vector<std::vector<Sentence>> all;
  for (const auto& sizes : documents) {
    auto next = static_cast<TokenId>(10000 * (all.size() + 1));
    auto& document = all.emplace_back();
    for (const Index size : sizes) {
      Sentence& sentence = document.emplace_back(static_cast<std::size_t>(size));
      for (TokenId& id : sentence) id = next++;
    }
  }
  return corpus_of(all);
}

/// The segments of a pair, which must be whole: `[CLS] A [SEP] B [SEP]`.
std::pair<Sentence, Sentence> segments(const ef::SegmentPair& pair) {
  EXPECT_GE(pair.first, 3);
  EXPECT_GE(std::ssize(pair.ids), pair.first + 2);
  EXPECT_EQ(pair.ids.front(), cls);
  EXPECT_EQ(pair.ids[static_cast<std::size_t>(pair.first) - 1], sep);
  EXPECT_EQ(pair.ids.back(), sep);
  return {{pair.ids.begin() + 1, pair.ids.begin() + pair.first - 1},
          {pair.ids.begin() + pair.first, pair.ids.end() - 1}};
}

TEST(SegmentPairs, AreThoseOfTheLaw) {
  const ef::Json fixture = ef::read_json(fixtures + "/pairs.json");
  const auto corpus = corpus_of(fixture.at("documents").get<std::vector<std::vector<Sentence>>>());
  ef::MaskingOptions options{.mask_token = mask,
                             .first_random = 0,
                             .vocab_size = vocabulary,
                             .law = ef::MaskingLaw::bert,
                             .kept = {cls, sep}};
  ef::MaskingOptions words = options;
  for (TokenId id = 0; id < vocabulary; ++id) {
    words.word_starts.push_back(id < first_word || id % 3 == 0);
  }
  std::size_t count = 0;
  for (const ef::Json& wanted : fixture.at("cases")) {
    const auto copy = wanted.at("copy").get<std::uint64_t>();
    const auto seed = wanted.at("seed").get<std::uint64_t>();
    const Pairs pairs = corpus.segment_pairs(wanted.at("length"), seed, copy);
    ASSERT_EQ(pairs.size(), wanted.at("pairs").size());
    for (std::size_t i = 0; i < pairs.size(); ++i, ++count) {
      const ef::Json& pair = wanted.at("pairs").at(i);
      ASSERT_EQ(pairs[i].ids, pair.at(0).get<Sentence>()) << i;
      ASSERT_EQ(pairs[i].first, pair.at(1).get<Index>()) << i;
      ASSERT_EQ(pairs[i].random, pair.at(2).get<TokenId>()) << i;
      for (const std::size_t at : {3u, 5u}) {
        const ef::Masking masking(at == 3 ? options : words, seed);
        ef::MaskedBatch masked;
        masking.add(masked, pairs[i].ids, copy, i);
        ASSERT_EQ(masked.batch.ids, pair.at(at).get<Sentence>()) << i;
        ASSERT_EQ(masked.positions, pair.at(at + 1).get<std::vector<Index>>()) << i;
      }
    }
  }
  EXPECT_GT(count, 40u);
}

TEST(SegmentPairs, AreWholeInOrderAndNeverTooLong) {
  ef::Draws draws(ef::Rng(5), 0);
  for (std::uint64_t round = 0; round < 300; ++round) {
    std::vector<std::vector<Index>> documents(static_cast<std::size_t>(2 + draws.below(5)));
    const Index longest = 1 + draws.below(12);
    for (auto& document : documents) {
      for (Index i = draws.below(15); i >= 0; --i) document.push_back(1 + draws.below(longest));
    }
    const Index length = 5 + draws.below(25);
    // The first token of each document that was not shown yet, but for what a cut may have lost.
    std::map<TokenId, TokenId> next;
    std::map<TokenId, bool> lost;
    for (const ef::SegmentPair& pair : counting(documents).segment_pairs(length, round, 0)) {
      ASSERT_LE(std::ssize(pair.ids), length);
      const auto [first, second] = segments(pair);
      const TokenId document = first.front() / 10000;
      TokenId& expected = next.try_emplace(document, document * 10000).first->second;
      const bool full = std::ssize(pair.ids) == length;  // and may have been cut
      ASSERT_GE(first.front(), expected);
      ASSERT_TRUE(full || lost[document] || first.front() == expected);
      lost[document] = full;
      for (const Sentence& segment : {first, second}) {
        for (std::size_t i = 1; i < segment.size(); ++i) ASSERT_EQ(segment[i], segment[i - 1] + 1);
      }
      expected = first.back() + 1;
      ASSERT_EQ(second.front() / 10000 != document, pair.random == 1);
      if (pair.random != 0) continue;
      ASSERT_GE(second.front(), expected);
      ASSERT_TRUE(full || second.front() == expected);
      expected = second.back() + 1;
    }
    ASSERT_EQ(next.size(), documents.size());
    for (const auto& [document, end] : next) {
      Index tokens = 0;
      for (const Index size : documents[static_cast<std::size_t>(document) - 1]) tokens += size;
      ASSERT_LE(end, 10000 * document + tokens);
      // Sentences of one token fill any length, so that nothing is cut off.
      if (longest == 1) {
        ASSERT_EQ(end, 10000 * document + tokens);
      }
    }
  }
}

TEST(SegmentPairs, HalfAreRandomAndOfAllOtherDocuments) {
  const std::vector<Index> sentences(3000, 1);
  const auto corpus = counting({sentences, sentences, sentences, sentences});
  double random = 0, short_ones = 0, all = 0;
  std::map<TokenId, double> from_first;  // where the first document's random segments are from
  for (std::uint64_t copy = 0; copy < 50; ++copy) {
    for (const ef::SegmentPair& pair : corpus.segment_pairs(35, 1, copy)) {
      const auto [first, second] = segments(pair);
      ++all;
      random += pair.random;
      if (first.front() / 10000 == 1 && pair.random != 0) ++from_first[second.front() / 10000];
    }
    const Pairs again = corpus.segment_pairs(35, 1, copy);
    // Documents whose second pair is short have a short target; a long one is cut by its end alone.
    for (std::size_t i = 1; i < again.size(); ++i) {
      const bool begins = again[i - 1].ids[1] % 10000 == 0;
      if (begins && again[i - 1].ids.size() < 35 && again[i].ids.size() < 35) ++short_ones;
    }
  }
  EXPECT_NEAR(random / all, 0.5, 0.01);
  EXPECT_NEAR(short_ones / 200, 0.1, 0.05);
  ASSERT_EQ(from_first.size(), 3u);
  const double others = from_first[2] + from_first[3] + from_first[4];
  for (TokenId other : {2, 3, 4}) EXPECT_NEAR(from_first[other] / others, 1.0 / 3, 0.03);
}

TEST(SegmentPairs, FollowFromSeedAndCopy) {
  const std::vector<Index> sentences(40, 3);
  const auto corpus = counting({sentences, sentences, sentences});
  const auto ids = [&](std::uint64_t seed, std::uint64_t copy) {
    std::vector<Sentence> all;
    for (const auto& pair : corpus.segment_pairs(20, seed, copy)) all.push_back(pair.ids);
    return all;
  };
  EXPECT_EQ(ids(1, 0), ids(1, 0));
  EXPECT_NE(ids(1, 0), ids(1, 1));
  EXPECT_NE(ids(1, 0), ids(2, 0));
}

TEST(SegmentPairs, TakesAnyTextOrSaysWhatIsWrong) {
  const auto two = counting({{3, 2}, {9000, 1}});  // a sentence longer than any block
  for (const Index length : {-1, 0, 3, 4}) {
    expect_parts(message_of<ef::ConfigError>([&] { (void)two.segment_pairs(length, 1, 0); }),
                 {std::to_string(length), "5"});
  }
  for (Index length = 5; length <= 8; ++length) {
    for (std::uint64_t copy = 0; copy < 20; ++copy) {
      const Pairs pairs = two.segment_pairs(length, 1, copy);
      EXPECT_GE(pairs.size(), 2u);
      for (const ef::SegmentPair& pair : pairs) {
        (void)segments(pair);
        EXPECT_LE(std::ssize(pair.ids), length);
      }
    }
  }
  EXPECT_TRUE(counting({}).segment_pairs(16, 1, 0).empty());
  expect_parts(message_of<ef::ConfigError>([&] {
                 (void)counting({{4, 5}}).segment_pairs(16, 1, 0);
               }),
               {"one document", "empty line"});
  // Sentences, and documents, without tokens do not count.
  const auto holes = counting({{0}, {0, 2, 0}, {0, 0}, {3, 0}});
  for (std::uint64_t copy = 0; copy < 20; ++copy) {
    const Pairs pairs = holes.segment_pairs(16, 1, copy);
    ASSERT_EQ(pairs.size(), 2u);
    for (const ef::SegmentPair& pair : pairs) EXPECT_EQ(pair.ids.size(), 8u);
  }
  expect_parts(message_of<ef::ConfigError>([&] {
                 (void)counting({{0}, {2}}).segment_pairs(9, 1, 0);
               }),
               {"one document"});
}

TEST(BertMasking, FollowsTheLaw) {
  const ef::Masking masking({.mask_token = 999,
                             .first_random = 0,
                             .vocab_size = 1000,
                             .law = ef::MaskingLaw::bert,
                             .kept = {cls, sep}},
                            7);
  std::array<double, 3> kinds{};  // mask, same, other
  double all = 0;
  for (const Index size : {3, 4, 10, 11, 30, 63}) {
    Sentence text(static_cast<std::size_t>(size), 500);
    text.front() = cls;
    text[text.size() - 2] = text.back() = sep;
    const bool nothing = size == 3;  // to be chosen
    for (std::uint64_t i = 0; i < 2000; ++i) {
      ef::MaskedBatch batch;
      masking.add(batch, text, 0, i);
      // 1.5 and 4.5 are rounded to the even number.
      const Index wanted = size == 10 ? 2 : size == 11 ? 2 : size == 30 ? 4 : size == 63 ? 9 : 1;
      ASSERT_EQ(std::ssize(batch.positions), nothing ? 0 : wanted) << size;
      for (std::size_t at = 0; at < batch.positions.size(); ++at) {
        ASSERT_EQ(batch.labels[at], 500);
        const TokenId shown = batch.batch.ids[static_cast<std::size_t>(batch.positions[at])];
        ++kinds[shown == 999 ? 0 : shown == 500 ? 1 : 2];
        ++all;
      }
    }
  }
  EXPECT_NEAR(kinds[0] / all, 0.8, 0.01);
  EXPECT_NEAR(kinds[1] / all, 0.1, 0.01);
  EXPECT_NEAR(kinds[2] / all, 0.1, 0.01);
}

template <class Scalar>
using Model = ef::BertForPreTraining<Scalar>;
template <class Scalar>
using Pretraining = ef::Pretraining<Scalar, Model<Scalar>>;

const std::string folder = fixtures + "/model";

const ef::Tokenizer& tokenizer() {
  static const ef::Tokenizer read = ef::Tokenizer::from_pretrained(folder);
  return read;
}
const ef::Corpus& corpus() {
  static const ef::Corpus read = [] {
    ef::Corpus corpus(tokenizer().cls_token_id(), tokenizer().sep_token_id());
    corpus.add_file(tokenizer(), folder + "/text.txt");
    return corpus;
  }();
  return read;
}
ef::PretrainingOptions options() {
  ef::PretrainingOptions options = ef::bert_pretraining_options();
  options.length = 16;
  options.batch = 8;
  options.duplicates = 2;
  options.seed = 11;
  options.dropout = false;
  options.schedule = {.decay = ef::Decay::constant, .peak = 0.01};
  return options;
}

TEST(BertPretraining, UpdatesAreThoseOfPyTorch) {
  const auto expected = ef::SafetensorsFile::open(folder + "/expected.safetensors");
  const auto read = [&](const std::string& name) {
    std::vector<double> all(static_cast<std::size_t>(expected.shape(name).numel()));
    expected.read<double>(name, all);
    return all;
  };
  const std::vector<double> losses = read("losses"), norms = read("norms");
  for (const Index parts : {1, 3, 8}) {
    ef::PretrainingOptions in_parts = options();
    in_parts.parts = parts;
    auto model = Model<double>::from_pretrained(folder);
    Pretraining<double> training(model, tokenizer(), corpus(), in_parts);
    ef::Context cx(2);
    for (std::size_t step = 0; step < losses.size(); ++step) {
      const ef::UpdateReport report = training.step(cx);
      EXPECT_NEAR(report.loss, losses[step], 1e-9 * losses[step]) << step << " in " << parts;
      EXPECT_NEAR(report.gradient_norm, norms[step], 1e-9 * norms[step]) << step;
    }
    EXPECT_GT(training.epochs(), 2);  // the first copy came again
    for (const auto& named : ef::named_parameters(model)) {
      if (named.tied) continue;
      const std::vector<double> truth = read("final." + std::string(named.name));
      const auto found = named.value();
      ASSERT_EQ(static_cast<std::size_t>(found.numel()), truth.size()) << named.name;
      for (std::size_t i = 0; i < truth.size(); ++i) {
        ASSERT_NEAR(found.data()[i], truth[i], 1e-8) << named.name << " " << i;
      }
    }
  }
}

/// A model that keeps what it is shown, with its types.
template <class Base>
struct Recording : Base {
  using Base::Base;
  using Shown = std::pair<Sentence, Sentence>;
  auto operator()(ef::Context& cx, const ef::Batch& batch, std::span<const Index> rows) const {
    for (Index i = 0; i < batch.segments(); ++i) {
      const ef::Batch text = batch.part(i, i + 1);
      shown.push_back({text.ids, text.type_ids});
    }
    return Base::operator()(cx, batch, rows);
  }
  mutable std::vector<Shown> shown;
};

/// What each of some epochs shows, sorted.
template <class Base>
auto epochs_of(ef::PretrainingOptions options, std::size_t count) {
  options.batch = 1;
  auto config = ef::BertConfig::from_pretrained(folder);
  Recording<Base> model{ef::BertConfig(config)};
  ef::Pretraining<float, Recording<Base>> training(model, tokenizer(), corpus(), options);
  ef::Context cx(1);
  std::vector<std::vector<typename Recording<Base>::Shown>> epochs(count);
  for (;;) {
    const auto epoch = static_cast<std::size_t>(training.epochs());
    if (epoch >= count) break;
    (void)training.step(cx);
    epochs[epoch].push_back(model.shown.back());
  }
  for (auto& epoch : epochs) std::sort(epoch.begin(), epoch.end());
  return epochs;
}

TEST(BertPretraining, StaticMasksComeAgainAfterAllCopies) {
  const auto pairs = epochs_of<Model<float>>(options(), 5);
  EXPECT_NE(pairs[0], pairs[1]);
  EXPECT_EQ(pairs[2], pairs[0]);
  EXPECT_EQ(pairs[3], pairs[1]);
  EXPECT_EQ(pairs[4], pairs[0]);
  for (const auto& [ids, types] : pairs[0]) {
    EXPECT_EQ(types.size(), ids.size());
    EXPECT_TRUE(std::is_sorted(types.begin(), types.end()));
    EXPECT_EQ(types.back(), 1);
  }
  ef::PretrainingOptions other = options();
  other.duplicates = 1;
  EXPECT_EQ(epochs_of<Model<float>>(other, 2)[1], epochs_of<Model<float>>(other, 1)[0]);
  other.duplicates = 0;
  const auto dynamic = epochs_of<Model<float>>(other, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = i + 1; j < 4; ++j) EXPECT_NE(dynamic[i], dynamic[j]);
  }
  // Without pairs, the same blocks have other masks.
  other.duplicates = 2;
  other.segment_pairs = false;
  const auto blocks = epochs_of<ef::BertForMaskedLM<float>>(other, 3);
  EXPECT_EQ(blocks[0].size(), blocks[1].size());
  EXPECT_NE(blocks[0], blocks[1]);
  EXPECT_EQ(blocks[0], blocks[2]);
  EXPECT_TRUE(blocks[0][0].second.empty());
}

TEST(BertPretraining, GoesOnWithTheSameNumbers) {
  for (const Index duplicates : {0, 3}) {
    ef::PretrainingOptions dropping = options();
    dropping.dropout = true;
    dropping.duplicates = duplicates;
    const auto fresh = [] {
      auto config = ef::BertConfig::from_pretrained(folder);
      config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1;
      return Model<float>(config);
    };
    std::vector<double> expected;
    {
      auto model = fresh();
      Pretraining<float> training(model, tokenizer(), corpus(), dropping);
      ef::Context cx(1);
      while (training.steps() < 20) expected.push_back(training.step(cx).loss);
      EXPECT_GT(training.epochs(), 4);
    }
    const TemporaryFolder interrupted;
    std::vector<double> found;
    for (const Index until : {0, 7, 13, 20}) {
      const bool goes_on = Pretraining<float>::can_resume(interrupted.path());
      auto model = goes_on ? Model<float>::from_pretrained(interrupted.path()) : fresh();
      Pretraining<float> training(model, tokenizer(), corpus(), dropping);
      if (goes_on) training.resume(interrupted.path());
      const double before = training.epochs();
      ef::Context cx(3);
      while (training.steps() < until) found.push_back(training.step(cx).loss);
      EXPECT_TRUE(until == 0 || training.epochs() > before);
      training.save(interrupted.path());
    }
    EXPECT_EQ(found, expected) << duplicates;
  }
}

/// Each document has words of its own.
TEST(BertPretraining, LearnsWhatFollows) {
  std::vector<std::vector<Sentence>> documents;
  for (TokenId number = 0; number < 8; ++number) {
    auto& document = documents.emplace_back();
    for (TokenId i = 0; i < 12; ++i) {
      const TokenId word = first_word + 4 * number;
      document.push_back({word + i % 4, word + i / 4, word + (i + 1) % 4});
    }
  }
  const ef::Corpus separate = corpus_of(documents);
  auto config = ef::BertConfig::from_pretrained(folder);
  config.hidden_size = 24;
  config.intermediate_size = 48;
  Model<float> model(config, ef::Initializer(1, 0.1));
  ef::PretrainingOptions dynamic = options();
  dynamic.duplicates = 0;
  dynamic.schedule = {.decay = ef::Decay::constant, .peak = 3e-3, .warmup_steps = 30};
  Pretraining<float> training(model, tokenizer(), separate, dynamic);
  ef::Context cx(1);
  const ef::MaskedLmScore before = training.score(cx, separate);
  while (training.steps() < 800) (void)training.step(cx);
  const ef::MaskedLmScore after = training.score(cx, separate);
  // There are 29 pairs, and in the end rounding decides about a few of them.
  EXPECT_LT(before.pair_accuracy, 0.55);
  EXPECT_GT(after.pair_accuracy, 0.65);
  EXPECT_LT(after.loss, before.loss - 1.5);

  Model<float> even(config, ef::Initializer(0, 0.0));  // all is equally likely
  const ef::MaskedLmScore score =
      Pretraining<float>(even, tokenizer(), separate, dynamic).score(cx, separate);
  EXPECT_NEAR(score.loss, std::log(vocabulary), 1e-5);
  EXPECT_NEAR(score.pair_loss, std::log(2), 1e-5);
}

TEST(BertPretraining, ErrorsNameWhatDoesNotFit) {
  const auto message = [](const ef::Corpus& text, auto&& change) {
    ef::PretrainingOptions other = options();
    auto config = ef::BertConfig::from_pretrained(folder);
    change(other, config);
    Model<float> model(config);
    return message_of<ef::ConfigError>(
        [&] { Pretraining<float>(model, tokenizer(), text, other); });
  };
  expect_parts(message(corpus(), [](auto&, auto& c) { c.type_vocab_size = 1; }),
               {"type_vocab_size", "2", "1"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.segment_pairs = false; }),
               {"segment_pairs"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.documents = true; }), {"documents"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.duplicates = -1; }), {"-1"});
  expect_parts(message(corpus(), [](auto& o, auto&) { o.length = 4; }), {"4", "5"});
  const auto nothing = [](auto&, auto&) {};
  expect_parts(message(corpus_of({}), nothing), {"no text"});
  expect_parts(message(corpus_of({{{6, 7}, {8}}}), nothing), {"one document"});

  const TemporaryFolder saved;
  auto model = Model<float>::from_pretrained(folder);
  Pretraining<float>(model, tokenizer(), corpus(), options()).save(saved.path());
  const auto refused = [&](auto&& change, const std::vector<std::string>& parts) {
    ef::PretrainingOptions other = options();
    change(other);
    Pretraining<float> training(model, tokenizer(), corpus(), other);
    expect_parts(message_of<ef::ConfigError>([&] { training.resume(saved.path()); }), parts);
  };
  refused([](auto& o) { o.duplicates = 0; }, {"duplicates", "2", "0"});
  refused([](auto& o) { o.masking = ef::MaskingLaw::roberta; }, {"masking", "bert", "roberta"});
  refused([](auto& o) { o.optimizer.correct_bias = true; }, {"correct-bias"});
}

}  // namespace bert_pretraining_test
