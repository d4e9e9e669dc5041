// Entities and their scores against seqeval, through the fixture that
// tests/oracle/metrics_fixtures.py made.
#include "eigenformer/training/metrics/entities.hpp"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "metrics_support.hpp"

namespace eigenformer::entities_test {
using Tags = std::vector<std::string>;

/// The tags between spaces.
Tags split(const std::string& text) {
  Tags tags;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    tags.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return tags;
}

std::vector<Tags> split_all(const Json& sentences) {
  std::vector<Tags> all;
  for (const Json& sentence : sentences) all.push_back(split(sentence));
  return all;
}

/// As seqeval lists them: [type, begin, end].
Json to_json(const std::vector<EntitySpan>& spans) {
  Json list = Json::array();
  for (const EntitySpan& span : spans) list.push_back({span.type, span.begin, span.end});
  return list;
}

TEST(EntityMetrics, AsSeqeval) {
  const Json cases = tests::metrics_fixture("entities");
  ASSERT_GT(cases.size(), 240U);
  const std::vector<std::pair<std::string, TagScheme>> schemes = {{"conll", TagScheme::conll},
                                                                  {"iob2", TagScheme::iob2},
                                                                  {"iobes", TagScheme::iobes},
                                                                  {"bilou", TagScheme::bilou}};
  for (const auto& [name, scheme] : schemes) {
    std::size_t scored = 0;
    for (const Json& entry : cases) {
      SCOPED_TRACE(name + " " + entry.dump());
      const std::vector<Tags> predictions = split_all(entry["predictions"]);
      const std::vector<Tags> labels = split_all(entry["labels"]);
      const Json& expected = entry[name];
      if (expected.is_null()) {
        EXPECT_THROW((void)entity_scores(predictions, labels, scheme), FormatError);
        continue;
      }
      ++scored;
      for (std::size_t i = 0; i < labels.size(); ++i) {
        EXPECT_EQ(to_json(entity_spans(labels[i], scheme)), expected["spans"][i]);
      }
      tests::expect_class_scores(entity_scores(predictions, labels, scheme), expected,
                                 [](const std::string& type) { return type; });
    }
    EXPECT_GT(scored, 25U) << name;
  }
}

TEST(EntityMetrics, NothingToFind) {
  const std::vector<Tags> none = {{"O", "O"}, {}};
  const EntityScores scores = entity_scores(none, none);
  EXPECT_EQ(scores.micro.f1, 0);
  EXPECT_EQ(scores.weighted.f1, 0);
  EXPECT_TRUE(std::isnan(scores.macro.f1));
  EXPECT_TRUE(scores.classes.empty());
}

TEST(EntityMetrics, RefuseWhatIsNoTag) {
  for (const std::string tag :
       {"", "LABEL_0", "PER", "o", "BPER", "O-PER", "\xC3\x89-PER", "B_PER", "-", "X-PER"}) {
    EXPECT_THROW((void)entity_spans(Tags{"O", tag}), FormatError) << tag;
  }
  EXPECT_EQ(
      tests::message_of<FormatError>([] { (void)entity_spans(Tags{"S-PER"}, TagScheme::iob2); }),
      "entities: tag 'S-PER' is neither O nor a type after one of BI and a hyphen, such as "
      "B-PER");
}

TEST(EntityMetrics, RefuseLengthsThatDiffer) {
  const std::vector<Tags> one = {{"O"}}, two = {{"O"}, {"O"}}, longer = {{"O", "O"}};
  EXPECT_THROW((void)entity_scores(one, two), ShapeError);
  EXPECT_THROW((void)entity_scores(one, longer), ShapeError);
  EXPECT_THROW((void)entity_scores({}, {}), ShapeError);
}

}  // namespace eigenformer::entities_test
