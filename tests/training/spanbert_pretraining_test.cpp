// SpanBERT's pre-training: spans against a second implementation of the law, the span boundary
// objective and updates against PyTorch in float64 (tests/oracle/spanbert_pretraining_fixtures.py).
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "eigenformer/models/spanbert.hpp"
#include "eigenformer/training/pretraining.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace spanbert_pretraining_test {

namespace ef = eigenformer;
using ef::Index;
using ef::TokenId;
using ef::tests::expect_parts;
using ef::tests::message_of;
using ef::tests::TemporaryFolder;
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

TEST(SpanBoundaries, AreOfTheTextOnBothSides) {
  ef::Batch batch;
  batch.add(Text(10, 5));
  batch.add(Text{});
  batch.add(Text(10, 5));
  // A span at each end of a text, one beside the ends, and one that is longer than the table.
  const ef::RowRange spans[] = {{0, 2}, {3, 4}, {9, 10}, {10, 11}, {12, 15}, {17, 19}};
  std::vector<Index> positions;
  std::vector<ef::RowRange> span_of;
  for (const ef::RowRange span : spans) {
    for (Index at = span.begin; at < span.end; ++at) {
      positions.push_back(at);
      span_of.push_back(span);
    }
  }
  const ef::SpanBoundaries found = ef::span_boundaries(batch, positions, span_of, 2);
  EXPECT_EQ(found.targets, (std::vector<Index>{2, 5, 6, 8, 9}));
  EXPECT_EQ(found.left, (std::vector<Index>{2, 11, 11, 16, 16}));
  EXPECT_EQ(found.right, (std::vector<Index>{4, 15, 15, 19, 19}));
  EXPECT_EQ(found.places, (Text{0, 0, 1, 0, 1}));
  const auto refused = [&](Index at, ef::RowRange span) {
    return message_of<ef::ShapeError>(
        [&] { (void)ef::span_boundaries(batch, std::array{at}, std::array{span}, 2); });
  };
  expect_parts(refused(5, {6, 8}), {"row 5", "6 to 8"});
  expect_parts(refused(8, {6, 8}), {"row 8"});
  expect_parts(refused(20, {19, 22}), {"row 20", "20 tokens"});
  expect_parts(refused(-1, {-2, 3}), {"row -1"});
  expect_parts(
      message_of<ef::ShapeError>([&] { (void)ef::span_boundaries(batch, positions, {}, 2); }),
      {"0 spans", "10 tokens"});
}

template <class Scalar>
using Model = ef::SpanBertForPreTraining<Scalar>;
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
  ef::PretrainingOptions options = ef::spanbert_pretraining_options();
  options.length = 24;
  options.batch = 4;
  options.seed = 11;
  options.dropout = false;
  options.schedule = {.decay = ef::Decay::constant, .peak = 0.01};
  return options;
}

template <class Number>
std::vector<Number> read(const std::string& name) {
  static const auto expected = ef::SafetensorsFile::open(folder + "/expected.safetensors");
  std::vector<Number> all(static_cast<std::size_t>(expected.shape(name).numel()));
  expected.read<Number>(name, all);
  return all;
}

void expect_near(const ef::Tensor<double>& found, const std::string& name, double tolerance) {
  const std::vector<double> truth = read<double>(name);
  ASSERT_EQ(static_cast<std::size_t>(found.numel()), truth.size()) << name;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    ASSERT_NEAR(found.data()[i], truth[i], tolerance * std::max(1.0, std::abs(truth[i])))
        << name << " " << i;
  }
}

/// The fixture's batch.
ef::MaskedBatch hidden_spans() {
  ef::MaskedBatch masked;
  masked.batch.ids = read<TokenId>("ids");
  masked.batch.offsets = read<Index>("offsets");
  masked.labels = read<TokenId>("labels");
  const std::vector<Index> rows = read<Index>("spans");
  for (std::size_t i = 0; i < rows.size(); i += 3) {
    masked.positions.push_back(rows[i]);
    masked.spans.push_back({rows[i + 1], rows[i + 2]});
  }
  return masked;
}

TEST(SpanBertModel, LossAndGradientsAreThoseOfPyTorch) {
  const auto model = Model<double>::from_pretrained(folder);
  EXPECT_TRUE(model.load_report().unexpected.empty());
  const ef::MaskedBatch masked = hidden_spans();
  ef::Context cx(2);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const auto outputs = model(cx, masked.batch, masked.positions, masked.spans);
  EXPECT_EQ(outputs.targets, read<Index>("targets"));
  EXPECT_LT(outputs.targets.size() + 3, masked.positions.size());  // some have no place
  expect_near(outputs.prediction_logits, "prediction_logits", 1e-9);
  expect_near(outputs.boundary_logits, "boundary_logits", 1e-9);
  const ef::Tensor<double> loss = model.loss(cx, outputs, masked.labels);
  EXPECT_NEAR(loss.item(), read<double>("loss")[0], 1e-9);
  const ef::Gradients<double> gradients = tape.backward(loss);
  std::size_t count = 0;
  ef::for_each_gradient(model, gradients, [&](const auto& named, const auto& gradient) {
    expect_near(gradient, "gradients." + std::string(named.name), 1e-9);
    ++count;
  });
  const auto parameters = ef::named_parameters(model);
  EXPECT_EQ(count, static_cast<std::size_t>(std::ranges::count(
                       parameters, false, [](const auto& p) { return p.tied; })));
}

TEST(SpanBertModel, WithoutBoundariesOnlyTheTokensCount) {
  const auto model = Model<double>::from_pretrained(folder);
  ef::Context cx(1);
  ef::Batch batch;
  batch.add(Text{5, 6, 7});
  const std::vector<Index> positions{0, 1};
  const std::vector<ef::RowRange> spans(2, {0, 2});
  const auto outputs = model(cx, batch, positions, spans);
  EXPECT_EQ(outputs.boundary_logits.shape(), (ef::Shape{0, 41}));
  const Text labels{8, 9};
  EXPECT_EQ(model.loss(cx, outputs, labels).item(),
            ef::cross_entropy(cx, outputs.prediction_logits, labels).item());
}

TEST(SpanBertModel, FoldersAreThoseOfAMaskedLanguageModel) {
  const TemporaryFolder saved;
  const auto model = Model<float>::from_pretrained(folder);
  model.save_pretrained(saved.path());
  const ef::Json config = ef::read_json(saved / "config.json");
  EXPECT_EQ(config.at("architectures"), ef::Json({"BertForMaskedLM"}));
  EXPECT_EQ(config.at("max_pair_targets"), 5);
  EXPECT_TRUE(ef::EncoderConfig::from_pretrained(saved.path()).unknown_keys().empty());

  const ef::MaskedBatch masked = hidden_spans();
  ef::Context cx(1);
  const auto lm = ef::BertForMaskedLM<float>::from_pretrained(saved.path());
  const auto logits = [&](const auto& any) { return any(cx, masked.batch).clone(); };
  EXPECT_TRUE((logits(lm).array() == logits(model).array()).all());
  EXPECT_EQ(lm.load_report().unexpected.size(), 10u);
  for (const std::string& name : lm.load_report().unexpected) {
    EXPECT_TRUE(name.starts_with("cls.pair_target_predictions.")) << name;
  }
  const auto again = Model<float>::from_pretrained(saved.path());
  const auto outputs = [&](const Model<float>& any) {
    return any(cx, masked.batch, masked.positions, masked.spans).boundary_logits.clone();
  };
  EXPECT_TRUE((outputs(again).array() == outputs(model).array()).all());
  const auto packed = Model<float>::from_pretrained(saved.path(), {.pack = true});
  EXPECT_LT((outputs(packed).array() - outputs(model).array()).abs().maxCoeff(), 1e-4f);

  // Of another BERT, the head begins afresh where that is asked for.
  const TemporaryFolder bert;
  lm.save_pretrained(bert.path());
  expect_parts(
      message_of<ef::FormatError>([&] { (void)Model<float>::from_pretrained(bert.path()); }),
      {"missing", "cls.pair_target_predictions.position_embeddings.weight"});
  const auto fresh = Model<float>::from_pretrained(bert.path(), {.initialize_missing_head = true});
  EXPECT_EQ(fresh.load_report().missing.size(), 10u);
  EXPECT_TRUE((logits(fresh).array() == logits(model).array()).all());
  EXPECT_TRUE(outputs(fresh).array().isFinite().all());

  auto without = ef::BertConfig::from_pretrained(folder);
  without.extra.erase("max_pair_targets");
  const auto table = [](const Model<float>& any) {
    const auto parameters = ef::named_parameters(any);
    return std::ranges::find(parameters, "cls.pair_target_predictions.position_embeddings.weight",
                             [](const auto& p) { return std::string_view(p.name); })
        ->shape();
  };
  EXPECT_EQ(table(Model<float>(without)), (ef::Shape{20, 200}));
  without.extra["max_pair_targets"] = 0;
  expect_parts(message_of<ef::ConfigError>([&] { (void)Model<float>(without); }),
               {"max_pair_targets", "0"});
}

TEST(SpanBertModel, RepeatedPositionsAreTheEncoders) {
  auto model = Model<float>::from_pretrained(folder);
  const auto before = Model<float>::from_pretrained(folder);
  ef::repeat_positions(model, 10);
  const auto changed = ef::named_parameters(model);
  const auto kept = ef::named_parameters(before);
  for (std::size_t i = 0; i < changed.size(); ++i) {
    const bool same = (changed[i].value().array() == kept[i].value().array()).all();
    EXPECT_EQ(same, changed[i].name != "bert.embeddings.position_embeddings.weight")
        << changed[i].name;
  }
}

TEST(SpanBertPretraining, UpdatesAreThoseOfPyTorch) {
  const auto losses = read<double>("losses"), norms = read<double>("norms");
  for (const Index parts : {1, 3}) {
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
    EXPECT_GT(training.epochs(), 1);
    for (const auto& named : ef::named_parameters(model)) {
      if (!named.tied) expect_near(named.value(), "final." + std::string(named.name), 1e-9);
    }
  }
}

TEST(SpanBertPretraining, GoesOnWithTheSameNumbers) {
  ef::PretrainingOptions dropping = options();
  dropping.dropout = true;
  const auto fresh = [] {
    auto config = ef::BertConfig::from_pretrained(folder);
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1;
    return Model<float>(config);
  };
  std::vector<double> expected, found;
  ef::MaskedLmScore score;
  {
    auto model = fresh();
    Pretraining<float> training(model, tokenizer(), corpus(), dropping);
    ef::Context cx(1);
    while (training.steps() < 20) expected.push_back(training.step(cx).loss);
    score = training.score(cx, corpus());
  }
  const TemporaryFolder interrupted;
  for (const Index until : {0, 7, 13, 20}) {
    const bool goes_on = Pretraining<float>::can_resume(interrupted.path());
    auto model = goes_on ? Model<float>::from_pretrained(interrupted.path()) : fresh();
    Pretraining<float> training(model, tokenizer(), corpus(), dropping);
    if (goes_on) training.resume(interrupted.path());
    ef::Context cx(3);
    while (training.steps() < until) found.push_back(training.step(cx).loss);
    training.save(interrupted.path());
    if (until < 20) continue;
    EXPECT_EQ(training.score(cx, corpus()).loss, score.loss);
    EXPECT_EQ(training.score(cx, corpus()).sbo_loss, score.sbo_loss);
  }
  EXPECT_EQ(found, expected);
}

TEST(SpanBertPretraining, ScoresAndLearnsBoth) {
  auto config = ef::BertConfig::from_pretrained(folder);
  Model<float> even(config, ef::Initializer(0, 0.0));  // all is equally likely
  ef::Context cx(1);
  const ef::MaskedLmScore chance =
      Pretraining<float>(even, tokenizer(), corpus(), options()).score(cx, corpus());
  EXPECT_NEAR(chance.loss, std::log(41), 1e-5);
  EXPECT_NEAR(chance.sbo_loss, std::log(41), 1e-5);
  EXPECT_EQ(chance.pair_loss, 0);

  config.hidden_size = 24;
  Model<float> model(config, ef::Initializer(1, 0.1));
  Pretraining<float> training(model, tokenizer(), corpus(), options());
  while (training.steps() < 200) (void)training.step(cx);
  const ef::MaskedLmScore after = training.score(cx, corpus());
  EXPECT_LT(after.loss, chance.loss - 0.5);
  EXPECT_LT(after.sbo_loss, chance.sbo_loss - 0.5);
  EXPECT_GT(after.sbo_accuracy, 0.1);
}

TEST(SpanBertPretraining, ErrorsNameWhatDoesNotFit) {
  auto model = Model<float>::from_pretrained(folder);
  ef::PretrainingOptions other = options();
  other.masking = ef::MaskingLaw::bert;
  expect_parts(
      message_of<ef::ConfigError>([&] { Pretraining<float>(model, tokenizer(), corpus(), other); }),
      {"boundaries of spans", "MaskingLaw::span"});
  const ef::Corpus nothing(tokenizer().cls_token_id(), tokenizer().sep_token_id());
  expect_parts(message_of<ef::ConfigError>(
                   [&] { Pretraining<float>(model, tokenizer(), nothing, options()); }),
               {"no text"});
  const TemporaryFolder saved;
  auto lm = ef::BertForMaskedLM<float>::from_pretrained(folder);
  ef::Pretraining<float, ef::BertForMaskedLM<float>>(lm, tokenizer(), corpus(), other)
      .save(saved.path());
  expect_parts(message_of<ef::ConfigError>([&] {
                 Pretraining<float>(model, tokenizer(), corpus(), options()).resume(saved.path());
               }),
               {"masking", "bert", "span"});
}

}  // namespace spanbert_pretraining_test
