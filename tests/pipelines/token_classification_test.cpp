// Token classification against transformers' pipeline in float64, for every strategy and kind of
// label names; and against itself: many texts and one, batches of any size, any number of threads.
#include "eigenformer/pipelines/token_classification.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/json.hpp"

#include "../temporary_folder.hpp"

namespace token_classification_test {

namespace ef = eigenformer;
using ef::AggregationStrategy;
using ef::Entity;
using Options = ef::TokenClassificationOptions;

const std::string fixtures = EIGENFORMER_FIXTURES "/token_classification/";

const ef::Json& cases() {
  static const ef::Json json = ef::read_json(fixtures + "cases.json");
  return json;
}

std::vector<std::string> texts() {
  auto all = cases()["texts"].get<std::vector<std::string>>();
  for (const ef::Json& hex : cases()["not_utf8"]) {
    const auto digits = hex.get<std::string>();
    std::string& text = all.emplace_back();
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      text += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    }
  }
  return all;
}

AggregationStrategy strategy_of(const std::string& name) {
  static const std::map<std::string, AggregationStrategy> strategies = {
      {"none", AggregationStrategy::none},
      {"simple", AggregationStrategy::simple},
      {"first", AggregationStrategy::first},
      {"average", AggregationStrategy::average},
      {"max", AggregationStrategy::max}};
  return strategies.at(name);
}

Options options_of(const ef::Json& one) {
  Options options{.aggregation = strategy_of(one["aggregation_strategy"].get<std::string>()),
                  .max_length = one["max_length"].get<ef::Index>()};
  if (one.contains("stride")) options.stride = one["stride"].get<ef::Index>();
  if (one.contains("ignore_labels")) {
    options.ignore_labels = one["ignore_labels"].get<std::vector<std::string>>();
  }
  return options;
}

/// The pipeline of a case, or of `model` with a tokenizer of another folder.
template <class Scalar = float>
ef::BasicTokenClassification<Scalar> load(const std::string& model, const std::string& tokenizer,
                                          std::optional<ef::Precision> precision = {},
                                          int threads = 2) {
  using Model = typename ef::BasicTokenClassification<Scalar>::Model;
  return {std::make_shared<ef::Tokenizer>(ef::Tokenizer::from_pretrained(fixtures + tokenizer)),
          std::make_shared<Model>(
              Model::from_pretrained(fixtures + model, {.precision = precision, .pack = true})),
          ef::Context(threads)};
}

template <class Scalar>
void expect_parity(double tolerance) {
  const std::vector<std::string> all = texts();
  std::size_t count = 0;
  double worst = 0;
  for (const ef::Json& one : cases()["cases"]) {
    auto tag = load<Scalar>(one["model"].get<std::string>(), one["tokenizer"].get<std::string>());
    std::vector<std::string> inputs;
    for (const ef::Json& i : one["texts"]) inputs.push_back(all[i.get<std::size_t>()]);
    const auto found = tag(inputs, options_of(one));
    ASSERT_EQ(found.size(), inputs.size());
    ef::Json label = one;
    label.erase("entities");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const ef::Json& expected = one["entities"][i];
      const std::string place = label.dump() + " '" + inputs[i] + "'";
      ASSERT_EQ(found[i].size(), expected.size()) << place;
      for (std::size_t j = 0; j < expected.size(); ++j) {
        const Entity& entity = found[i][j];
        ASSERT_EQ(entity.type, expected[j][0].get<std::string>()) << place << " entity " << j;
        ASSERT_EQ(entity.start, expected[j][1].get<std::size_t>()) << place << " entity " << j;
        ASSERT_EQ(entity.end, expected[j][2].get<std::size_t>()) << place << " entity " << j;
        ASSERT_EQ(entity.text, inputs[i].substr(entity.start, entity.end - entity.start));
        ASSERT_NEAR(entity.score, expected[j][3].get<double>(), tolerance) << place;
        worst = std::max(worst, std::abs(entity.score - expected[j][3].get<double>()));
        ++count;
      }
    }
  }
  std::printf("%zu cases, %zu entities, largest error of a score %.2g\n", cases()["cases"].size(),
              count, worst);
}

void expect_same(const std::vector<Entity>& a, const std::vector<Entity>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].type, b[i].type);
    EXPECT_EQ(a[i].start, b[i].start);
    EXPECT_EQ(a[i].end, b[i].end);
    EXPECT_EQ(a[i].text, b[i].text);
    EXPECT_EQ(a[i].score, b[i].score);
  }
}

std::string message_of(ef::TokenClassification& tag, const std::vector<std::string>& inputs,
                       const Options& options) {
  try {
    (void)tag(inputs, options);
  } catch (const ef::Error& problem) {
    return problem.what();
  }
  return "accepted";
}

std::string words(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "word ";
  return text;
}

TEST(TokenClassification, DoubleIsTransformers) { expect_parity<double>(1e-10); }
TEST(TokenClassification, FloatIsTransformers) { expect_parity<float>(1e-5); }

TEST(TokenClassification, ManyTextsAreEachAloneBitForBit) {
  std::vector<std::string> many = texts();
  for (int i = 0; i < 1500; ++i) many.push_back("Verse " + std::to_string(i % 700) + " of Łódź");
  auto tag = load("bio", "byte_level");
  for (const Options& options :
       {Options{.max_length = 40}, Options{.aggregation = AggregationStrategy::max, .stride = 7}}) {
    Options other = options;
    const auto all = tag(many, options);
    ASSERT_EQ(all.size(), many.size());
    for (std::size_t i = 0; i < many.size(); ++i) expect_same(tag(many[i], options), all[i]);
    const std::vector<std::string_view> views(many.begin(), many.end());
    for (const ef::Index batch_tokens : {1, 100, 1 << 20}) {
      other.batch_tokens = batch_tokens;
      const auto again = tag(views, other);
      for (std::size_t i = 0; i < many.size(); ++i) expect_same(again[i], all[i]);
    }
    for (const int threads : {1, 3}) {
      const auto again = load("bio", "byte_level", {}, threads)(many, options);
      for (std::size_t i = 0; i < many.size(); ++i) expect_same(again[i], all[i]);
    }
  }
}

TEST(TokenClassification, ReportsTextsThatAreDone) {
  auto tag = load("bio", "byte_level");
  const std::vector<std::string> many(1100, words(30));  // several windows each
  std::vector<ef::Index> done;
  const auto note = [&](ef::Index now, ef::Index total) {
    EXPECT_EQ(total, 1100);
    EXPECT_GE(now, done.empty() ? 0 : done.back());
    done.push_back(now);
  };
  (void)tag(many, {.stride = 3, .batch_tokens = 1000, .progress = note});
  ASSERT_GT(done.size(), 40u);
  EXPECT_LT(done.front(), 20);
  EXPECT_EQ(done.back(), 1100);
}

TEST(TokenClassification, ReducedPrecisionAndPackedFiles) {
  auto full = load("bio", "byte_level");
  const auto found = full("And Moses went up unto God", {.ignore_labels = {}});
  for (const ef::Precision precision : {ef::Precision::bf16, ef::Precision::int8}) {
    auto narrow = load("bio", "byte_level", precision);
    const auto near = narrow("And Moses went up unto God", {.ignore_labels = {}});
    ASSERT_FALSE(near.empty());
    EXPECT_EQ(near.front().type, found.front().type);
    EXPECT_NEAR(near.front().score, found.front().score, 0.05);
  }
  const ef::tests::TemporaryFolder folder;
  full.tokenizer().save_pretrained(folder.path());
  full.model().save_packed(folder / "model.packed");
  auto mapped = ef::TokenClassification::from_pretrained(folder / "model.packed");
  expect_same(mapped("And Moses went up unto God", {.ignore_labels = {}}), found);
}

TEST(TokenClassification, NothingInNothingOut) {
  auto tag = load("bio", "byte_level");
  EXPECT_TRUE(tag("").empty());
  EXPECT_TRUE(tag(std::vector<std::string>{}).empty());
  const auto two = tag({"", "Moses"});
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(two[0].empty());
  expect_same(two[1], tag("Moses"));
}

TEST(TokenClassification, RefusesWithTheFix) {
  auto tag = load("bio", "byte_level");
  const std::string long_text = words(60);
  const ef::Index tokens = tag.tokenizer().encode(long_text).size();
  const std::string message = message_of(tag, {"a", long_text}, {});
  EXPECT_NE(message.find("text 1 has " + std::to_string(tokens) + " tokens"), std::string::npos)
      << message;
  EXPECT_NE(message.find("takes 40; stride"), std::string::npos) << message;
  EXPECT_NE(message_of(tag, {long_text}, {}).find("the text has"), std::string::npos);
  EXPECT_NE(message_of(tag, {long_text}, {.max_length = 41}).find("has 41"), std::string::npos);
  EXPECT_EQ(message_of(tag, {long_text}, {.max_length = 40}), "accepted");
  EXPECT_EQ(message_of(tag, {long_text}, {.stride = 0, .max_length = 1000}), "accepted");
  for (const Options& wrong :
       {Options{.aggregation = AggregationStrategy::none, .stride = 1}, Options{.stride = -1},
        Options{.stride = 38}, Options{.stride = 5, .max_length = 7}, Options{.max_length = 1},
        Options{.max_length = -1}}) {
    EXPECT_THROW((void)tag(long_text, wrong), ef::ConfigError)
        << wrong.stride.value_or(-9) << " " << wrong.max_length;
  }
  EXPECT_THROW((void)ef::TokenClassification::from_pretrained("no/such/folder"), ef::IoError);
  EXPECT_THROW((void)ef::TokenClassification::from_pretrained(EIGENFORMER_EXAMPLES "/model"),
               ef::Error);
}

}  // namespace token_classification_test
