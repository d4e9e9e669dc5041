// Zero-shot classification against transformers' pipeline in float64, for models with their labels
// in every order; and what it refuses.
#include "eigenformer/pipelines/zero_shot_classification.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "classification_fixture.hpp"

namespace zero_shot_classification_test {

namespace ef = eigenformer;
using ef::LabelScore;
using namespace ef::testing_classification;

template <class Scalar>
void expect_parity(double tolerance) {
  std::size_t count = 0;
  const std::vector<std::string> all = texts("zero_shot_texts");
  for (const auto& [name, json] : cases("zero_shot").items()) {
    const CaseFolder folder("zero_shot", name);
    auto classify =
        ef::BasicZeroShotClassification<Scalar>::from_pretrained(folder.path(), ef::Context(2));
    const ef::Json& expected = json["expected"];
    EXPECT_EQ(classify.entailment_id().value_or(-1), expected["entailment_id"].get<int>()) << name;
    for (const ef::Json& run : expected["runs"]) {
      const ef::Json& asked = run["options"];
      ef::ZeroShotOptions options{.multi_label = asked.value("multi_label", false)};
      options.hypothesis_template = asked.value("hypothesis_template", options.hypothesis_template);
      const auto labels = asked["candidate_labels"].get<std::vector<std::string>>();
      const auto scored = classify(all, labels, options);
      ASSERT_EQ(scored.size(), run["results"].size());
      for (std::size_t i = 0; i < scored.size(); ++i, ++count) {
        expect_labels(scored[i], run["results"][i], tolerance,
                      name + " " + asked.dump() + ", text " + std::to_string(i));
        for (const LabelScore& label : scored[i]) {
          EXPECT_EQ(labels[static_cast<std::size_t>(label.id)], label.label);
        }
        if (sizeof(Scalar) == sizeof(double)) continue;  // Eigen's sums depend on the batch
        EXPECT_TRUE(same(classify(all[i], labels, options), scored[i])) << name << ", text " << i;
      }
    }
  }
  std::printf("%zu models, %zu results\n", cases("zero_shot").size(), count);
}

ef::ZeroShotClassification load(const std::string& name) {
  const CaseFolder folder("zero_shot", name);
  return ef::ZeroShotClassification::from_pretrained(folder.path(), ef::Context(2));
}

TEST(ZeroShotClassification, DoubleIsTransformers) { expect_parity<double>(1e-11); }
TEST(ZeroShotClassification, FloatIsTransformers) { expect_parity<float>(1e-5); }

TEST(ZeroShotClassification, TheTemplateHasOnePlaceForTheLabel) {
  ef::ZeroShotClassification classify = load("entailment_last");
  for (const char* wrong : {"", "no place", "{} and {}", "{0}", "{", "}", "{}}", "{{}", "{{}}",
                            "{label}", "} {", "{:>3}"}) {
    EXPECT_THROW((void)classify("a", {"b"}, {.hypothesis_template = wrong}), ef::Error) << wrong;
  }
  EXPECT_EQ(classify("a", {"{}"}, {.hypothesis_template = "{{{}}}"})[0].label, "{}");
}

TEST(ZeroShotClassification, NoLabelsNoTexts) {
  ef::ZeroShotClassification classify = load("entailment_last");
  EXPECT_THROW((void)classify("a", {}), ef::Error);
  EXPECT_TRUE(classify(std::vector<std::string>{}, {"a"}).empty());
  EXPECT_EQ(classify("", {"a", "b"}).size(), 2u);
}

TEST(ZeroShotClassification, OnlyTheTextIsTruncated) {
  ef::ZeroShotClassification classify = load("entailment_last");
  const std::string text = "In the beginning God created the heaven and the earth.";
  const ef::ZeroShotOptions options{.hypothesis_template = "{}", .max_length = 16};
  const auto cut = classify(text, {"a", "b"}, options);
  EXPECT_FALSE(same(cut, classify(text, {"a", "b"}, {.hypothesis_template = "{}"})));
  EXPECT_TRUE(same(cut, classify(text + " And more", {"a", "b"}, options)));
  std::string label;
  for (int i = 0; i < 50; ++i) label += " label";
  EXPECT_THROW((void)classify(text, {label}), ef::ConfigError);
  // Never more than the model takes.
  EXPECT_EQ(classify(texts()[32], {"a"}, {.max_length = 1 << 20}).size(), 1u);
}

TEST(ZeroShotClassification, AnEntailmentThatIsNotThereIsRefused) {
  ef::Json json = cases("zero_shot").at("entailment_last");
  json["config"]["label2id"]["entailment"] = 3;
  const CaseFolder folder("zero_shot", "entailment_last", json);
  EXPECT_THROW((void)ef::ZeroShotClassification::from_pretrained(folder.path()), ef::ConfigError);
  json["config"].erase("label2id");  // then id2label says it
  const CaseFolder other("zero_shot", "entailment_last", json);
  EXPECT_EQ(ef::ZeroShotClassification::from_pretrained(other.path()).entailment_id(), 2);
  json["config"]["id2label"] = {{"0", "a"}, {"1", "b"}, {"7", "entailment"}};
  const CaseFolder beyond("zero_shot", "entailment_last", json);
  EXPECT_THROW((void)ef::ZeroShotClassification::from_pretrained(beyond.path()), ef::ConfigError);
}

}  // namespace zero_shot_classification_test
