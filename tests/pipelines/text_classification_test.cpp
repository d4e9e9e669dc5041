// Text classification against transformers' pipeline in float64, for every kind of head; and
// against itself: many texts, threads, packed files, reduced precision.
#include "eigenformer/pipelines/text_classification.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "classification_fixture.hpp"

namespace text_classification_test {

namespace ef = eigenformer;
using ef::ClassificationFunction;
using ef::LabelScore;
using ef::TextInput;
using ef::TruncationStrategy;
using namespace ef::testing_classification;

const std::map<std::string, ClassificationFunction> functions = {
    {"softmax", ClassificationFunction::softmax},
    {"sigmoid", ClassificationFunction::sigmoid},
    {"none", ClassificationFunction::none}};
const std::map<std::string, TruncationStrategy> strategies = {
    {"longest_first", TruncationStrategy::longest_first},
    {"only_first", TruncationStrategy::only_first},
    {"only_second", TruncationStrategy::only_second}};

/// Pairs of the fixture; they point into it.
std::vector<TextInput> pairs(const std::string& name) {
  std::vector<TextInput> all;
  for (const ef::Json& pair : texts_json().at(name)) {
    all.emplace_back(pair[0].get_ref<const std::string&>(), pair[1].get_ref<const std::string&>());
  }
  return all;
}
/// All texts of the fixture, then all pairs.
std::vector<TextInput> inputs() {
  std::vector<TextInput> all;
  for (const ef::Json& text : texts_json().at("texts")) {
    all.emplace_back(text.get_ref<const std::string&>());
  }
  for (const TextInput& pair : pairs("pairs")) all.push_back(pair);
  return all;
}

ef::TextClassificationOptions options_of(const ef::Json& asked) {
  ef::TextClassificationOptions options{.max_length = 43};
  if (asked.contains("top_k"))
    options.top_k = asked["top_k"].is_null() ? 0 : asked["top_k"].get<int>();
  if (asked.contains("function_to_apply")) {
    options.function_to_apply = functions.at(asked["function_to_apply"].get<std::string>());
  }
  if (asked.contains("truncation")) {
    options.max_length = 16;
    options.truncation = strategies.at(asked["truncation"].get<std::string>());
  }
  return options;
}

template <class Scalar>
void expect_parity(double tolerance) {
  std::size_t count = 0;
  for (const auto& [name, json] : cases("text").items()) {
    if (sizeof(Scalar) == 4 && name == "saturated") continue;  // other scores are 0 and 1 exactly
    const CaseFolder folder("text", name);
    auto classify =
        ef::BasicTextClassification<Scalar>::from_pretrained(folder.path(), ef::Context(2));
    for (const ef::Json& run : json["expected"]) {
      const ef::TextClassificationOptions options = options_of(run["options"]);
      const std::string what = name + " " + run["options"].dump();
      const bool cut = run["options"].contains("truncation");
      const std::vector<TextInput> texts = cut ? pairs("cut_pairs") : inputs();
      ASSERT_EQ(texts.size(), run["results"].size());
      for (std::size_t i = 0; i < texts.size(); ++i, ++count) {
        const std::string place = what + ", text " + std::to_string(i);
        if (run["results"][i].is_null()) {
          EXPECT_THROW((void)classify(texts[i], options), ef::ConfigError) << place;
        } else {
          expect_labels(classify(texts[i], options), run["results"][i], tolerance, place);
        }
      }
    }
  }
  std::printf("%zu cases, %zu results\n", cases("text").size(), count);
}

ef::TextClassification load(const std::string& name, int threads = 2) {
  const CaseFolder folder("text", name);
  return ef::TextClassification::from_pretrained(folder.path(), ef::Context(threads));
}

/// What refused(...) threw.
template <class Function>
std::string error_of(Function&& refused) {
  try {
    refused();
  } catch (const ef::Error& problem) {
    return problem.what();
  }
  return "";
}

TEST(TextClassification, DoubleIsTransformers) { expect_parity<double>(1e-11); }
TEST(TextClassification, FloatIsTransformers) { expect_parity<float>(1e-5); }

TEST(TextClassification, ManyAreOneByOneBitForBit) {
  const auto texts = inputs();
  std::vector<TextInput> many;
  while (many.size() < 2500) many.insert(many.end(), texts.begin(), texts.end());
  ef::TextClassification classify = load("unnamed");
  const ef::TextClassificationOptions options{.top_k = 0, .max_length = 43};
  const auto all = classify(many, options);
  ASSERT_EQ(all.size(), many.size());
  for (std::size_t i = 0; i < many.size(); ++i) {
    ASSERT_TRUE(same(all[i], classify(texts[i % texts.size()], options))) << i;
  }
  for (const ef::Index batch_tokens : {1, 100, 1 << 20}) {
    auto narrow = options;
    narrow.batch_tokens = batch_tokens;
    for (const int threads : {1, 3}) {
      const auto again = load("unnamed", threads)(many, narrow);
      ASSERT_EQ(again.size(), all.size());
      for (std::size_t i = 0; i < all.size(); ++i) ASSERT_TRUE(same(again[i], all[i])) << i;
    }
  }
}

TEST(TextClassification, EveryWayToGiveTexts) {
  ef::TextClassification classify = load("sentiment");
  const std::string first = "In the beginning";
  const std::vector<std::string> list = {first, "God"};
  const std::vector<LabelScore> one = classify(first);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].label, one[0].id == 0 ? "NEGATIVE" : "POSITIVE");
  EXPECT_TRUE(same(one, classify("In the beginning")));
  EXPECT_TRUE(same(one, classify(list)[0]));
  EXPECT_TRUE(same(classify({first, "God"})[1], classify("God")));
  const TextInput pair(first, "God");
  EXPECT_EQ(classify({pair, first}).size(), 2u);
  EXPECT_TRUE(same(classify({first, pair})[1], classify(pair)));
  EXPECT_FALSE(same(classify(pair), one));
  const ef::Batch batch = classify.tokenizer().encode_batch(list);
  EXPECT_TRUE(same(classify(batch)[1], classify("God")));
  EXPECT_TRUE(classify(std::vector<std::string>{}).empty());
  EXPECT_TRUE(classify(ef::Batch()).empty());
  EXPECT_EQ(classify.logits({}).shape(), ef::Shape({0, 2}));
  EXPECT_EQ(classify.logits(inputs(), {.max_length = 43}).shape(), ef::Shape({41, 2}));
}

TEST(TextClassification, FunctionIsAsTheConfigurationSays) {
  const std::pair<const char*, ClassificationFunction> wanted[] = {
      {"sentiment", ClassificationFunction::softmax},
      {"multi_label", ClassificationFunction::sigmoid},
      {"regression", ClassificationFunction::none},
      {"regressions", ClassificationFunction::none},
      {"one_label", ClassificationFunction::sigmoid},
      {"function_to_apply", ClassificationFunction::softmax}};
  for (const auto& [name, function] : wanted) EXPECT_EQ(load(name).function(), function) << name;
}

TEST(TextClassification, EqualScoresGoByNumber) {
  ef::TextClassification classify = load("ties");
  const auto labels = classify("In the beginning", {.top_k = 0});
  ASSERT_EQ(labels.size(), 6u);
  for (std::size_t i = 1; i < 6; ++i) {
    if (i == 3) continue;
    EXPECT_EQ(labels[i].score, labels[i - 1].score);
    EXPECT_GT(labels[i].id, labels[i - 1].id);
  }
  EXPECT_TRUE(same(classify("In the beginning", {.top_k = 100}), labels));
}

TEST(TextClassification, TooLongTextsNameBothLengthsAndTheFix) {
  ef::TextClassification classify = load("sentiment");
  const std::string long_text = texts()[32];
  const std::string error = error_of([&] { (void)classify({"short", long_text}); });
  for (const char* named : {"text 1", "1202 tokens", " 43", "max_length"}) {
    EXPECT_NE(error.find(named), std::string::npos) << named << " in " << error;
  }
  EXPECT_THROW((void)classify(long_text), ef::ShapeError);
  EXPECT_THROW((void)classify(long_text, {.max_length = 44}), ef::ShapeError);
  EXPECT_THROW((void)classify(classify.tokenizer().encode_batch({long_text})), ef::ShapeError);
  EXPECT_EQ(classify(long_text, {.max_length = 43}).size(), 1u);
  EXPECT_THROW((void)classify("a", {.max_length = 1}), ef::ConfigError);
  EXPECT_THROW((void)classify("a", {.max_length = -1}), ef::ConfigError);
  EXPECT_THROW((void)classify("a", {.top_k = -1}), ef::Error);
}

TEST(TextClassification, LogitsThatAreNotFiniteAreAnError) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const CaseFolder folder("text", "regression");
    auto model = ef::RobertaForSequenceClassification<float>::from_pretrained(folder.path());
    for (const auto& named : ef::named_parameters(model)) {
      if (named.name == "classifier.out_proj.bias")
        named.parameter.assign(ef::Tensor<float>::full(ef::Shape{1}, bad));
    }
    ef::TextClassification classify(
        std::make_shared<ef::Tokenizer>(ef::Tokenizer::from_pretrained(folder.path())),
        std::make_shared<ef::TextClassification::Model>(std::move(model)));
    const std::string error = error_of([&] { (void)classify("a"); });
    EXPECT_NE(error.find("not finite"), std::string::npos) << error;
  }
}

TEST(TextClassification, ReportsProgress) {
  ef::TextClassification classify = load("sentiment");
  std::vector<ef::Index> done;
  const auto note = [&](ef::Index now, ef::Index total) {
    EXPECT_EQ(total, 1500);
    done.push_back(now);
  };
  (void)classify(std::vector<std::string>(1500, "God"), {.batch_tokens = 1000, .progress = note});
  ASSERT_GT(done.size(), 3u);
  EXPECT_EQ(done.back(), 1500);
  for (std::size_t i = 1; i < done.size(); ++i) EXPECT_GT(done[i], done[i - 1]);
}

TEST(TextClassification, PackedFilesAndReducedPrecision) {
  const CaseFolder folder("text", "unnamed");
  const ef::TextClassificationOptions options{.top_k = 0, .max_length = 43};
  auto classify = ef::TextClassification::from_pretrained(folder.path());
  const auto all = classify(inputs(), options);
  classify.model().save_packed(folder / "model.packed");
  const auto mapped =
      ef::TextClassification::from_pretrained(folder / "model.packed")(inputs(), options);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(same(mapped[i], all[i])) << i;
  for (const ef::Precision precision : {ef::Precision::bf16, ef::Precision::int8}) {
    const auto narrow = ef::TextClassification::from_pretrained(folder.path(), ef::Context(),
                                                                precision)(inputs(), options);
    double worst = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::map<ef::Index, double> by_id;
      for (const LabelScore& label : narrow[i]) by_id[label.id] = label.score;
      for (const LabelScore& label : all[i]) {
        worst = std::max(worst, std::abs(by_id.at(label.id) - label.score));
      }
    }
    std::printf("%s: largest difference %.3f\n", std::string(ef::name_of(precision)).c_str(),
                worst);
    EXPECT_LT(worst, 0.05);
  }
}

TEST(TextClassification, AnotherModelIsRefusedByName) {
  const std::string error = error_of(
      [] { (void)ef::TextClassification::from_pretrained(EIGENFORMER_EXAMPLES "/model"); });
  for (const char* named : {"RobertaForMaskedLM", "RobertaForSequenceClassification"}) {
    EXPECT_NE(error.find(named), std::string::npos) << error;
  }
  EXPECT_THROW((void)ef::TextClassification::from_pretrained("no/such/folder"), ef::IoError);
}

}  // namespace text_classification_test
