// Question answering against the pipeline of transformers 4 in float64, case by case; and against
// itself: batches of any size, any number of threads.
#include "eigenformer/pipelines/question_answering.hpp"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../models/fixture.hpp"

namespace question_answering_test {

namespace ef = eigenformer;
using ef::tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES "/question_answering/";

const ef::Json& cases() {
  static const ef::Json json = ef::read_json(fixtures + "cases.json");
  return json;
}
std::vector<std::string> strings(const char* key) {
  return cases()[key].get<std::vector<std::string>>();
}

ef::QuestionAnsweringOptions options_of(const ef::Json& json) {
  ef::QuestionAnsweringOptions options;
  for (const auto& [key, value] : json.items()) {
    if (key == "top_k")
      options.top_k = value.get<ef::Index>();
    else if (key == "max_answer_len")
      options.max_answer_len = value.get<ef::Index>();
    else if (key == "max_seq_len")
      options.max_seq_len = value.get<ef::Index>();
    else if (key == "doc_stride")
      options.doc_stride = value.get<ef::Index>();
    else if (key == "handle_impossible_answer")
      options.handle_impossible_answer = value.get<bool>();
    else if (key == "align_to_words")
      options.align_to_words = value.get<bool>();
    else
      ADD_FAILURE() << "unknown option " << key;
  }
  return options;
}

template <class Scalar>
ef::BasicQuestionAnswering<Scalar> load(const std::string& tokenizer = "model", int threads = 2) {
  using Model = typename ef::BasicQuestionAnswering<Scalar>::Model;
  static const auto model =
      std::make_shared<Model>(Model::from_pretrained(fixtures + "model", {.pack = true}));
  return {std::make_shared<ef::Tokenizer>(ef::Tokenizer::from_pretrained(fixtures + tokenizer)),
          model, ef::Context(threads)};
}

template <class Scalar>
void expect_parity(double tolerance) {
  const std::vector<std::string> questions = strings("questions"), contexts = strings("contexts");
  std::map<std::string, ef::BasicQuestionAnswering<Scalar>> pipelines;
  for (const char* name : {"model", "untrimmed"}) pipelines.emplace(name, load<Scalar>(name));
  std::size_t count = 0, refused = 0;
  double worst = 0;
  for (const ef::Json& expected : cases()["cases"]) {
    SCOPED_TRACE(expected.dump(-1, ' ', true));
    auto& answer = pipelines.at(expected["tokenizer"].get<std::string>());
    const std::string& question = questions[expected["question"].get<std::size_t>()];
    const std::string& context = contexts[expected["context"].get<std::size_t>()];
    const auto options = options_of(expected["options"]);
    const ef::Json& truth = expected["answers"];
    if (truth.is_string()) {
      EXPECT_THROW((void)answer(question, context, options), ef::ConfigError);
      ++refused;
      continue;
    }
    const std::vector<ef::Answer> answers = answer(question, context, options);
    EXPECT_EQ(answers.size(), truth.size());
    for (std::size_t i = 0; i < std::min(answers.size(), truth.size()); ++i) {
      const double score = truth[i]["score"].get<double>();
      EXPECT_EQ(answers[i].text, truth[i]["answer"].get<std::string>()) << i;
      EXPECT_EQ(answers[i].start, truth[i]["start"].get<ef::Index>()) << i;
      EXPECT_EQ(answers[i].end, truth[i]["end"].get<ef::Index>()) << i;
      EXPECT_NEAR(answers[i].score, score, tolerance * (1 + score)) << i;
      worst = std::max(worst, std::abs(answers[i].score - score));
      ++count;
    }
  }
  EXPECT_GT(refused, 0U);
  std::printf("%zu cases, %zu answers, %zu refused, largest error of a score %.2g\n",
              cases()["cases"].size(), count, refused, worst);
}

void expect_same(const std::vector<ef::Answer>& got, const std::vector<ef::Answer>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].text, expected[i].text);
    EXPECT_EQ(got[i].start, expected[i].start);
    EXPECT_EQ(got[i].end, expected[i].end);
    EXPECT_EQ(got[i].score, expected[i].score);
  }
}

TEST(QuestionAnswering, DoubleIsTransformers) { expect_parity<double>(1e-10); }
TEST(QuestionAnswering, FloatIsTransformers) { expect_parity<float>(1e-5); }

TEST(QuestionAnswering, ManyAreOneByOneToTheBit) {
  const std::vector<std::string> questions = strings("questions"), contexts = strings("contexts");
  std::vector<ef::TextPair> pairs;
  for (int round = 0; round < 2; ++round) {  // more than are held at once
    for (std::size_t q = 0; q < 5; ++q) {
      for (const std::string& context : contexts) pairs.emplace_back(questions[q], context);
    }
  }
  ASSERT_GT(pairs.size(), 256U);
  ef::QuestionAnsweringOptions options{
      .top_k = 3, .max_seq_len = 110, .handle_impossible_answer = true};
  std::vector<std::vector<ef::Answer>> single;
  auto answer = load<float>();
  for (const auto& [question, context] : pairs) {
    single.push_back(answer(question, context, options));
  }
  for (const auto& [batch_tokens, threads] :
       {std::pair<ef::Index, int>(1, 1), {300, 3}, {4096, 2}}) {
    options.batch_tokens = batch_tokens;
    const auto many = load<float>("model", threads)(pairs, options);
    ASSERT_EQ(many.size(), pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) expect_same(many[i], single[i]);
  }
}

TEST(QuestionAnswering, ReportsProgress) {
  const std::vector<ef::TextPair> pairs(300, ef::TextPair("why", "God"));
  std::vector<ef::Index> done;
  const auto note = [&](ef::Index now, ef::Index total) {
    EXPECT_EQ(total, 300);
    done.push_back(now);
  };
  (void)load<float>()(pairs, {.batch_tokens = 500, .progress = note});
  ASSERT_GT(done.size(), 3U);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), 300);
  EXPECT_TRUE(load<float>()(std::span<const ef::TextPair>(), {}).empty());
}

TEST(QuestionAnswering, PackedFilesAndReducedPrecision) {
  const TemporaryFolder folder;
  const std::string question = "Who made it?", context = strings("contexts").back();
  auto answer = ef::QuestionAnswering::from_pretrained(fixtures + "model");
  const std::vector<ef::Answer> answers = answer(question, context, {.top_k = 5});
  ASSERT_EQ(answers.size(), 5U);
  ef::write_file(folder / "tokenizer.json", ef::read_file(fixtures + "model/tokenizer.json"));
  answer.model().save_packed(folder / "model.packed");
  auto mapped = ef::QuestionAnswering::from_pretrained(folder / "model.packed");
  expect_same(mapped(question, context, {.top_k = 5}), answers);
  for (const auto precision : {ef::Precision::bf16, ef::Precision::int8}) {
    auto narrow =
        ef::QuestionAnswering::from_pretrained(fixtures + "model", ef::Context(), precision);
    const ef::Answer best = narrow(question, context).front();
    EXPECT_GT(best.score, 0);
    EXPECT_EQ(best.text, context.substr(static_cast<std::size_t>(best.start),
                                        static_cast<std::size_t>(best.end - best.start)));
  }
}

TEST(QuestionAnswering, BytesThatAreNoText) {
  auto answer = load<double>();
  const std::string context = "In the \xFF\xC3 beginning \xE6\x97";
  for (const ef::Answer& found : answer("who\x80", context, {.top_k = 50})) {
    EXPECT_EQ(found.text, context.substr(static_cast<std::size_t>(found.start),
                                         static_cast<std::size_t>(found.end - found.start)));
  }
}

TEST(QuestionAnswering, CutsQuestionsOnRequest) {
  auto answer = load<double>();
  const std::string context = strings("contexts")[5], question = strings("questions")[0];
  std::string repeated;
  for (int i = 0; i < 60; ++i) repeated += question + " ";
  EXPECT_THROW((void)answer(repeated, context), ef::ConfigError);
  const ef::Index tokens =
      answer.tokenizer().encode(question, {.add_special_tokens = false}).size();
  expect_same(answer(repeated, context, {.max_question_len = tokens}), answer(question, context));
  expect_same(answer(question, context, {.max_question_len = tokens}), answer(question, context));
}

TEST(QuestionAnswering, RefusesByName) {
  auto answer = load<float>();
  const auto refusal = [&](const std::string& question, const std::string& context,
                           const ef::QuestionAnsweringOptions& options) -> std::string {
    try {
      (void)answer(question, context, options);
    } catch (const ef::Error& problem) {
      return problem.what();
    }
    return "accepted";
  };
  const auto names = [](const std::string& message, const std::string& part) {
    return message.find(part) != std::string::npos ? ::testing::AssertionSuccess()
                                                   : ::testing::AssertionFailure() << message;
  };
  EXPECT_TRUE(names(refusal("", "God", {}), "question 0 is empty"));
  EXPECT_TRUE(names(refusal("who", "", {}), "context of question 0 is empty"));
  EXPECT_TRUE(names(refusal("who", "God", {.top_k = 0}), "top_k is 0"));
  EXPECT_TRUE(names(refusal("who", "God", {.max_answer_len = 0}), "max_answer_len 0"));
  EXPECT_TRUE(names(refusal("who", "God", {.max_seq_len = 129}), "129"));
  EXPECT_TRUE(names(refusal("who", "God", {.max_seq_len = 0}), "max_seq_len is 0"));
  EXPECT_TRUE(names(refusal("who", "God", {.doc_stride = 400}), "stride 400"));
  EXPECT_TRUE(names(refusal("who", "God", {.doc_stride = -1}), "stride -1"));
  EXPECT_TRUE(names(refusal(std::string(500, '?'), "God", {}), "question 0"));
  EXPECT_THROW((void)ef::QuestionAnswering::from_pretrained("no/such/folder"), ef::IoError);
  EXPECT_THROW((void)ef::QuestionAnswering::from_pretrained(EIGENFORMER_EXAMPLES "/model"),
               ef::Error);

  const auto plain = ef::Tokenizer::from_json(
      R"({"model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1}, "merges": []}})");
  EXPECT_THROW(ef::QuestionAnswering(
                   std::make_shared<ef::Tokenizer>(plain),
                   std::make_shared<ef::QuestionAnswering::Model>(answer.model().config())),
               ef::ConfigError);
}

TEST(QuestionAnswering, RefusesLogitsThatAreNoNumbers) {
  const TemporaryFolder folder;
  for (const char* name : {"config.json", "tokenizer.json"}) {
    ef::write_file(folder / name, ef::read_file(fixtures + "model/" + name));
  }
  const auto file = ef::Checkpoint::open(fixtures + "model");
  const float bias[] = {std::nanf(""), 0};
  std::vector<ef::TensorToWrite> tensors;
  for (const std::string& name : file.names()) {
    tensors.push_back({name, ef::DType::f32, file.shape(name), file.bytes(name)});
    if (name == "qa_outputs.bias") tensors.back().bytes = std::as_bytes(std::span(bias));
  }
  ef::write_safetensors(folder / "model.safetensors", tensors);
  auto answer = ef::QuestionAnswering::from_pretrained(folder.path());
  EXPECT_THROW((void)answer("who", "God"), ef::Error);
}

}  // namespace question_answering_test
