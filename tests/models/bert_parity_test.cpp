// BERT against Hugging Face transformers in float64: every layer's hidden states and attention
// probabilities, pooler, outputs, losses and gradients of every class.
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "fixture.hpp"

namespace bert_parity_test {

using namespace eigenformer;
using namespace testing_models;

template <class Scalar>
constexpr double tolerance = sizeof(Scalar) == sizeof(double) ? 1e-12 : 1e-5;
constexpr double gradient_tolerance = 1e-9;

/// The largest relative error of each precision, over all fixtures.
template <class Scalar>
double& worst() {
  static double value = 0;
  return value;
}

template <class Scalar>
void expect_close(const Difference& difference, const std::string& what) {
  EXPECT_LE(difference.relative(), tolerance<Scalar>) << what;
  worst<Scalar>() = std::max(worst<Scalar>(), difference.relative());
}

class BertParity : public ::testing::TestWithParam<std::string> {
 public:
  static void TearDownTestSuite() {
    std::printf("largest error relative to the largest value: double %.2e, float %.2e\n",
                worst<double>(), worst<float>());
  }
};

template <class Scalar>
void check_encoder(const Fixture& fixture) {
  const auto model = BertModel<Scalar>::from_pretrained(fixture.folder);
  Context cx(2);
  const auto out = model.forward(cx, fixture.batch, {.hidden_states = true, .attentions = true});
  const auto layers = static_cast<std::size_t>(model.config().num_hidden_layers);
  ASSERT_EQ(out.hidden_states.size(), layers + 1);
  ASSERT_EQ(out.attentions.size(), layers);
  for (std::size_t i = 0; i <= layers; ++i) {
    const std::string name = "hidden_states." + std::to_string(i);
    expect_close<Scalar>(tokens_difference(out.hidden_states[i], fixture, name), name);
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string name = "attentions." + std::to_string(i);
    expect_close<Scalar>(attention_difference(out.attentions[i], fixture, name), name);
  }
  EXPECT_TRUE(same_bits(out.last_hidden_state, model(cx, fixture.batch)));
  ASSERT_EQ(out.pooler_output.defined(), fixture.has("pooler_output"));
  if (!out.pooler_output.defined()) return;
  ASSERT_EQ(out.pooler_output.shape(), Shape({fixture.rows, model.config().hidden_size}));
  expect_close<Scalar>(difference(out.pooler_output, fixture.values("pooler_output")),
                       "pooler_output");
}

TEST_P(BertParity, EncoderInDouble) { check_encoder<double>(Fixture(GetParam())); }
TEST_P(BertParity, EncoderInFloat) { check_encoder<float>(Fixture(GetParam())); }

/// Texts have the same states and pooler output by themselves as together.
TEST_P(BertParity, PackedIsOneByOne) {
  const Fixture fixture(GetParam());
  const auto model = BertModel<double>::from_pretrained(fixture.folder);
  Context cx(1);
  const auto all = model.forward(cx, fixture.batch);
  for (Index i = 0; i < fixture.rows; ++i) {
    const auto one = model.forward(cx, fixture.batch.part(i, i + 1));
    const auto& within = all.last_hidden_state.rows(fixture.batch.segment(i));
    EXPECT_LE((one.last_hidden_state.array() - within.array()).abs().maxCoeff(), 1e-10);
    if (!all.pooler_output.defined()) continue;
    EXPECT_LE(
        (one.pooler_output.array() - all.pooler_output.rows(i, i + 1).array()).abs().maxCoeff(),
        1e-10);
  }
}

// ---- Outputs ----

/// Each output with its name; `of_texts`: one row for each text.
template <class Scalar>
void expect_output(const Tensor<Scalar>& got, bool of_texts, const Fixture& fixture,
                   const std::string& name) {
  expect_close<Scalar>(
      of_texts ? difference(got, fixture.values(name)) : tokens_difference(got, fixture, name),
      name);
}
template <class Scalar>
void expect_outputs(const Tensor<Scalar>& logits, bool of_texts, const Fixture& fixture) {
  expect_output(logits, of_texts, fixture, "logits");
}
template <class Scalar>
void expect_outputs(const QuestionAnsweringOutput<Scalar>& output, bool, const Fixture& fixture) {
  expect_output(output.start_logits, false, fixture, "start_logits");
  expect_output(output.end_logits, false, fixture, "end_logits");
}
template <class Scalar>
void expect_outputs(const BertForPreTrainingOutput<Scalar>& output, bool, const Fixture& fixture) {
  expect_output(output.prediction_logits, false, fixture, "prediction_logits");
  expect_output(output.seq_relationship_logits, true, fixture, "seq_relationship_logits");
}

/// The rows of all tokens against those that were asked for by themselves.
template <class Scalar>
void expect_rows(const Tensor<Scalar>& some, const Tensor<Scalar>& all,
                 const std::vector<Index>& positions) {
  ASSERT_EQ(some.shape(), Shape({static_cast<Index>(positions.size()), all.size(1)}));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto at = static_cast<Index>(i);
    const auto off =
        some.rows(at, at + 1).array() - all.rows(positions[i], positions[i] + 1).array();
    EXPECT_LE(off.abs().maxCoeff(), 20 * tolerance<Scalar>) << "row " << positions[i];
  }
}

template <class Scalar>
void check_outputs(const Fixture& fixture) {
  with_model<Scalar>(fixture.folder, {}, [&]<class Model>(const Model& model) {
    EXPECT_EQ(model.config().class_name(Model::suffix), fixture.note("class"));
    EXPECT_TRUE(model.load_report().missing.empty());
    if constexpr (requires { model.bert(); }) {
      Context cx(2);
      const auto output = model(cx, fixture.batch);
      expect_outputs(output, Model::reads_first_tokens, fixture);
      const Tensor<Scalar> hidden = model.bert()(cx, fixture.batch);
      expect_outputs(model.outputs(cx, fixture.batch, hidden), Model::reads_first_tokens, fixture);
      const Index last = fixture.batch.tokens() - 1;
      const std::vector<Index> positions = {last, 0, last / 2, 0};
      if constexpr (requires { model(cx, fixture.batch, Index{1}); }) {
        const Index choices = std::stoi(fixture.note("choices"));
        expect_outputs(model(cx, fixture.batch, choices), true, fixture);
      } else if constexpr (requires { output.prediction_logits; }) {
        const auto some = model(cx, fixture.batch, positions);
        expect_rows(some.prediction_logits, output.prediction_logits, positions);
        expect_output(some.seq_relationship_logits, true, fixture, "seq_relationship_logits");
      } else if constexpr (requires { model(cx, fixture.batch, positions); }) {
        expect_rows(model(cx, fixture.batch, positions), output, positions);
      }
    } else {
      EXPECT_EQ(fixture.note("class"), "BertModel");
    }
  });
}

TEST_P(BertParity, OutputsInDouble) { check_outputs<double>(Fixture(GetParam())); }
TEST_P(BertParity, OutputsInFloat) { check_outputs<float>(Fixture(GetParam())); }

// ---- Losses ----

using S = double;
Tensor<S> loss_of(Context& cx, const BertForPreTraining<S>& model, const Fixture& fixture) {
  return model.loss(cx, model(cx, fixture.batch), packed_labels(fixture),
                    fixture.ids("next_sentence_label"));
}
Tensor<S> loss_of(Context& cx, const BertForNextSentencePrediction<S>& model,
                  const Fixture& fixture) {
  return model.loss(cx, model(cx, fixture.batch), fixture.ids("labels"));
}
Tensor<S> loss_of(Context& cx, const BertForSequenceClassification<S>& model,
                  const Fixture& fixture) {
  const Tensor<S> logits = model(cx, fixture.batch);
  const std::vector<double> values = fixture.values("labels");
  const bool numbers = static_cast<Index>(values.size()) == logits.numel();
  if (!numbers) return model.loss(cx, logits, fixture.ids("labels"));
  Tensor<S> targets(Shape{static_cast<Index>(values.size())});
  std::copy(values.begin(), values.end(), targets.data());
  return model.loss(cx, logits, targets.reshape(logits.shape()));
}
Tensor<S> loss_of(Context& cx, const BertForTokenClassification<S>& model, const Fixture& fixture) {
  return model.loss(cx, model(cx, fixture.batch), packed_labels(fixture));
}
Tensor<S> loss_of(Context& cx, const BertForQuestionAnswering<S>& model, const Fixture& fixture) {
  return model.loss(cx, model(cx, fixture.batch), fixture.batch, fixture.ids("start_positions"),
                    fixture.ids("end_positions"));
}
Tensor<S> loss_of(Context& cx, const BertForMultipleChoice<S>& model, const Fixture& fixture) {
  const Tensor<S> logits = model(cx, fixture.batch, std::stoi(fixture.note("choices")));
  return model.loss(cx, logits, fixture.ids("labels"));
}
Tensor<S> loss_of(Context& cx, const BertLMHeadModel<S>& model, const Fixture& fixture) {
  return model.loss(cx, model(cx, fixture.batch), fixture.batch, packed_labels(fixture));
}

TEST_P(BertParity, LossAndGradients) {
  const Fixture fixture(GetParam());
  if (!fixture.has("loss")) return;
  with_model<S>(fixture.folder, {}, [&]<class Model>(const Model& model) {
    Context cx(1);
    Tape<S> tape;
    cx.tape = &tape;
    if constexpr (requires { loss_of(cx, model, fixture); }) {
      const Tensor<S> loss = loss_of(cx, model, fixture);
      EXPECT_LE(difference(loss, fixture.values("loss")).relative(), 1e-12);
      expect_gradients(model, tape.backward(loss), fixture, gradient_tolerance);
    } else {
      FAIL() << "no loss of " << fixture.note("class");
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Fixtures, BertParity, ::testing::ValuesIn(fixture_names("bert/")),
                         [](const auto& instance) { return instance.param.substr(5); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BertParity);  // other fixtures may have no BERT

TEST(BertFixtures, EachClassIsThere) {
  if (std::getenv("EIGENFORMER_MODEL_FIXTURES") != nullptr) GTEST_SKIP() << "other fixtures";
  std::set<std::string> classes;
  std::set<std::string> losses;
  for (const std::string& name : fixture_names("bert/")) {
    const Fixture fixture(name);
    classes.insert(fixture.note("class"));
    if (fixture.has("loss")) losses.insert(fixture.note("class"));
  }
  EXPECT_EQ(classes.size(), 9u);
  EXPECT_EQ(losses.size(), 7u);
}

}  // namespace bert_parity_test
