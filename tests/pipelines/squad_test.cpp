// SQuAD's files: predictions against the rule of transformers' run_qa.py, and what is refused.
#include "eigenformer/pipelines/squad.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../temporary_folder.hpp"

namespace squad_test {

namespace ef = eigenformer;
using ef::tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES "/question_answering/";

ef::SquadOptions options_of(const ef::Json& json) {
  ef::SquadOptions options;
  for (const auto& [key, value] : json.items()) {
    if (key == "max_seq_length")
      options.max_seq_length = value.get<ef::Index>();
    else if (key == "doc_stride")
      options.doc_stride = value.get<ef::Index>();
    else if (key == "n_best_size")
      options.n_best_size = value.get<ef::Index>();
    else if (key == "max_answer_length")
      options.max_answer_length = value.get<ef::Index>();
    else if (key == "null_score_diff_threshold")
      options.null_score_diff_threshold = value.get<double>();
    else
      ADD_FAILURE() << "unknown option " << key;
  }
  return options;
}

template <class Scalar>
void expect_parity(double tolerance) {
  auto answer = ef::BasicQuestionAnswering<Scalar>::from_pretrained(fixtures + "model");
  ef::SquadDataset data = ef::SquadDataset::read(fixtures + "squad.json");
  EXPECT_TRUE(data.version_2_with_negative);
  std::size_t count = 0, none = 0;
  for (const ef::Json& expected : ef::read_json(fixtures + "predictions.json")) {
    for (const bool negative : {false, true}) {
      SCOPED_TRACE(expected["options"].dump() + (negative ? " 2.0" : " 1.1"));
      data.version_2_with_negative = negative;
      const auto predictions = ef::squad_predictions(answer, data, options_of(expected["options"]));
      ASSERT_EQ(predictions.size(), data.questions.size());
      const ef::Json& truth = expected[negative ? "v2" : "v1"];
      ASSERT_EQ(truth.size(), predictions.size());
      for (const ef::SquadPrediction& prediction : predictions) {
        const ef::Json& right = truth.at(prediction.id);
        EXPECT_EQ(prediction.text, (negative ? right[0] : right).get<std::string>())
            << prediction.id;
        const double difference = negative ? right[1].get<double>() : 0;
        EXPECT_NEAR(prediction.null_score_diff, difference, tolerance) << prediction.id;
        none += negative && prediction.text.empty() ? 1 : 0;
        ++count;
      }
    }
  }
  EXPECT_GT(none, 0U);
  std::printf("%zu predictions, %zu of no answer\n", count, none);
}

std::string refusal(const std::string& document) {
  const TemporaryFolder folder;
  ef::write_file(folder / "squad.json", document);
  try {
    (void)ef::SquadDataset::read(folder / "squad.json");
  } catch (const ef::FormatError& problem) {
    return problem.what();
  }
  return "accepted";
}

TEST(Squad, DoubleIsTransformers) { expect_parity<double>(1e-10); }
TEST(Squad, FloatIsTransformers) { expect_parity<float>(1e-4); }

TEST(Squad, ReadsPublishedFiles) {
  const std::string folder = EIGENFORMER_SHARED_DATA "/squad/";
  if (!ef::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto two = ef::SquadDataset::read(folder + "cs224n-dev-v2.0.json");
  EXPECT_TRUE(two.version_2_with_negative);
  EXPECT_EQ(two.questions.size(), 6078U);
  EXPECT_EQ(two.contexts.size(), 646U);
  std::size_t answered = 0;
  for (const ef::SquadQuestion& question : two.questions) {
    for (const std::string& answer : question.answers) {
      EXPECT_NE(two.contexts[question.context].find(answer), std::string::npos) << question.id;
    }
    answered += question.answers.empty() ? 0 : 1;
  }
  EXPECT_GT(answered, 2000U);
  EXPECT_LT(answered, 4000U);
  const auto one = ef::SquadDataset::read(EIGENFORMER_SHARED_DATA "/xquad/xquad.en.json");
  EXPECT_FALSE(one.version_2_with_negative);
  EXPECT_EQ(one.questions.size(), 1190U);
}

TEST(Squad, RefusesByPlace) {
  const std::pair<const char*, const char*> refusals[] = {
      {"{", "invalid JSON"},
      {"[]", "must be an object, not array"},
      {"sentence\tlabel\n", "; questions are read from JSON files as SQuAD's"},
      {R"({"version": "1.1"})", "has no 'data'"},
      {R"({"data": {}})", "'data' must be of type array, not object"},
      {R"({"data": [3]})", "squad.json data[0]: must be an object"},
      {R"({"data": [{"paragraphs": []}, {"title": "t"}]})", "data[1]: has no 'paragraphs'"},
      {R"({"data": [{"paragraphs": [{"qas": []}]}]})", "data[0] paragraphs[0]: has no 'context'"},
      {R"({"data": [{"paragraphs": [{"context": "c"}]}]})", "paragraphs[0]: has no 'qas'"},
      {R"({"data": [{"paragraphs": [{"context": 1, "qas": []}]}]})", "'context' must be of type"},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]})",
       "paragraphs[0] qas[0]: has no 'id'"},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"id": 7, "question": "q"}]}]}]})",
       "'id' must be of type string, not number"},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "i"}]}]}]})",
       "has no 'question'"},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas":
          [{"id": "i", "question": "q", "answers": [{"answer_start": 0}]}]}]}]})",
       "qas[0] answers[0]: has no 'text'"},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas":
          [{"id": "i", "question": "q"}, {"id": "i", "question": "r"}]}]}]})",
       "qas[1]: the id 'i' appears twice"},
  };
  for (const auto& [document, named] : refusals) {
    const std::string message = refusal(document);
    EXPECT_NE(message.find(named), std::string::npos) << document << "\n" << message;
  }
  EXPECT_EQ(refusal(R"({"data": []})"), "accepted");
  EXPECT_THROW((void)ef::SquadDataset::read("no/such/file"), ef::IoError);
}

TEST(Squad, WritesPredictions) {
  const TemporaryFolder folder;
  const ef::SquadPrediction predictions[] = {{"b", "\xC3\xA9\n\"", 1}, {"a", "", 2}};
  ef::write_squad_predictions(folder / "out.json", predictions);
  EXPECT_EQ(ef::read_json(folder / "out.json"), ef::Json({{"a", ""}, {"b", "\xC3\xA9\n\""}}));
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"out.json"});
  EXPECT_THROW(ef::write_squad_predictions(folder / "no/out.json", predictions), ef::IoError);
}

TEST(Squad, LeadingSpaceIsPythons) {
  EXPECT_EQ(ef::detail::without_leading_space(" \t\n\x1C\x1F\xC2\x85\xE3\x80\x80 a "), "a ");
  EXPECT_EQ(ef::detail::without_leading_space("\xE2\x80\x8B a"), "\xE2\x80\x8B a");
  EXPECT_EQ(ef::detail::without_leading_space(" \xFF a"), "\xFF a");
  EXPECT_EQ(ef::detail::without_leading_space("  "), "");
}

TEST(Squad, RefusesWhatIsNotThere) {
  auto answer = ef::QuestionAnswering::from_pretrained(fixtures + "model");
  ef::SquadDataset data{{"?"}, {{"i", "who", 1, {}}}, false};
  EXPECT_THROW((void)ef::squad_predictions(answer, data), ef::ShapeError);
  data.questions[0].context = 0;
  EXPECT_EQ(ef::squad_predictions(answer, data).at(0).text, "?");
  EXPECT_THROW((void)ef::squad_predictions(answer, data, {.n_best_size = 0}), ef::Error);
  data.contexts[0].clear();
  EXPECT_EQ(ef::squad_predictions(answer, data).at(0).text, "empty");
}

}  // namespace squad_test
