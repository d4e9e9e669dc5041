// Every model against Hugging Face transformers in float64: each layer's hidden states and
// attention probabilities, pooler, outputs, losses and gradients; and against itself: some rows,
// packed or one by one, on any number of threads.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "fixture.hpp"

namespace parity_test {

using namespace eigenformer;
using namespace testing_models;

template <class Scalar>
constexpr double tolerance = sizeof(Scalar) == sizeof(double) ? 1e-12 : 1e-5;
template <class Scalar>
constexpr double gradient_tolerance = sizeof(Scalar) == sizeof(double) ? 1e-9 : 1e-4;

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
template <class Scalar>
void expect_close(const Tensor<Scalar>& got, const Tensor<Scalar>& expected,
                  const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  const Tensor<Scalar> flat = expected.clone();
  const std::vector<Scalar> numbers(flat.data(), flat.data() + flat.numel());
  EXPECT_LE(difference(got, numbers).relative(), tolerance<Scalar>) << what;
}

class Parity : public ::testing::TestWithParam<std::string> {
 public:
  static void TearDownTestSuite() {
    std::printf("largest error relative to the largest value: double %.2e, float %.2e\n",
                worst<double>(), worst<float>());
  }

 protected:
  const Fixture fixture{GetParam()};
};

/// Calls f(encoder) with the fixture's encoder: its own, or the one inside the masked language
/// model where the file has the word embeddings under the decoder's name alone.
template <class Scalar, class Function>
void with_encoder(const Fixture& fixture, Function&& f) {
  using MaskedLm = AutoModelForMaskedLM<Scalar>;
  const auto own = [&] { return AutoModel<Scalar>::from_pretrained(fixture.folder); };
  if (fixture.has_encoder()) {
    std::visit(f, own().model());
  } else {
    EXPECT_THROW((void)own(), FormatError);
    std::visit([&](const auto& model) { f(model.base_model()); },
               MaskedLm::from_pretrained(fixture.folder).model());
  }
}

// ---- Encoders ----

template <class Scalar>
void check_encoder(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const auto& model) {
    Context cx(2);
    const auto out = model.forward(cx, fixture.batch, {.hidden_states = true, .attentions = true});
    std::size_t layers = 0;
    while (fixture.has("attentions." + std::to_string(layers))) ++layers;
    ASSERT_GE(layers, static_cast<std::size_t>(model.config().num_hidden_layers));
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
    EXPECT_TRUE(same_bits(out.last_hidden_state, out.hidden_states.back()));
    EXPECT_TRUE(same_bits(out.last_hidden_state, model(cx, fixture.batch)));
    // A row of a causal model depends on its place, also where rows are asked for by themselves.
    const Index tokens = fixture.batch.tokens();
    const std::vector<Index> rows = {0, tokens / 2, tokens - 1};
    expect_close(model(cx, fixture.batch, rows), gather_rows(cx, out.last_hidden_state, rows),
                 "rows");
    ASSERT_EQ(out.pooler_output.defined(), fixture.has("pooler_output"));
    if (!out.pooler_output.defined()) return;
    ASSERT_EQ(out.pooler_output.shape(), Shape({fixture.rows, model.config().hidden_size}));
    expect_close<Scalar>(difference(out.pooler_output, fixture.values("pooler_output")),
                         "pooler_output");
  });
}

TEST_P(Parity, EncoderInDouble) { check_encoder<double>(fixture); }
TEST_P(Parity, EncoderInFloat) { check_encoder<float>(fixture); }

template <class Scalar>
void check_packing(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const auto& model) {
    Context cx(1);
    const auto all = model.forward(cx, fixture.batch);
    for (Index i = 0; i < fixture.rows; ++i) {
      const auto one = model.forward(cx, fixture.batch.part(i, i + 1));
      const std::string text = "text " + std::to_string(i);
      expect_close(one.last_hidden_state, all.last_hidden_state.rows(fixture.batch.segment(i)),
                   text);
      if (!all.pooler_output.defined()) continue;
      expect_close(one.pooler_output, all.pooler_output.rows(i, i + 1), text);
    }
  });
}

TEST_P(Parity, PackedIsOneByOne) {
  check_packing<double>(fixture);
  check_packing<float>(fixture);
}

template <class Scalar>
void check_threads(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const auto& model) {
    Batch many;  // the same texts many times over: enough work to share
    for (int copy = 0; copy < 40; ++copy) {
      for (Index i = 0; i < fixture.rows; ++i) {
        const Batch text = fixture.batch.part(i, i + 1);
        many.add(text.ids, text.type_ids);
      }
    }
    Context one(1);
    const auto expected = outputs_of(one, model, many);
    for (const int threads : {2, 3, 7}) {
      SCOPED_TRACE(threads);
      Context cx(threads);
      expect_same(outputs_of(cx, model, many), expected);
    }
  });
}

TEST_P(Parity, ThreadsDoNotChangeABit) {
  check_threads<double>(fixture);
  check_threads<float>(fixture);
}

// ---- Outputs ----

/// Whether a model for pretraining computes an output from whole texts.
bool of_pairs(const std::string& name) {
  return name == "seq_relationship_logits" || name == "sop_logits";
}

/// A model's outputs against those in the fixture; `of_texts`: one row for each text.
template <class Scalar>
void expect_outputs(const Outputs<Scalar>& outputs, bool of_texts, const Fixture& fixture) {
  for (const auto& [name, value] : outputs) {
    expect_close<Scalar>(of_texts || of_pairs(name) ? difference(value, fixture.values(name))
                                                    : tokens_difference(value, fixture, name),
                         name);
  }
}

template <class Scalar>
void check_outputs(const Fixture& fixture) {
  with_model<Scalar>(fixture.folder, {}, [&]<class Model>(const Model& model) {
    EXPECT_EQ(model.config().class_name(Model::suffix), fixture.note("class"));
    EXPECT_TRUE(model.load_report().missing.empty());
    EXPECT_TRUE(model.load_report().unexpected.empty() || fixture.masked_lm());
    if constexpr (requires { model.base_model(); }) {
      constexpr bool of_texts = Model::reads_first_tokens;
      Context cx(2);
      const Batch& batch = fixture.batch;
      const auto output = model(cx, batch);
      expect_outputs(named(output), of_texts, fixture);
      expect_outputs(named(model.outputs(cx, batch, model.base_model()(cx, batch))), of_texts,
                     fixture);
      const Index last = batch.tokens() - 1;
      const std::vector<Index> positions = {last, 0, last / 2, 0};
      if constexpr (requires { model(cx, batch, Index{1}); }) {
        const Index choices = std::stoi(fixture.note("choices"));
        const Tensor<Scalar> chosen = model(cx, batch, choices);
        EXPECT_EQ(chosen.shape(), Shape({fixture.rows / choices, choices}));
        expect_outputs(named(chosen), of_texts, fixture);
      } else if constexpr (requires { model(cx, batch, positions); }) {
        for (const auto& [name, some] : named(model(cx, batch, positions))) {
          const Tensor<Scalar> all = named(output).at(name);
          expect_close(some, of_pairs(name) ? all : gather_rows(cx, all, positions), name);
        }
      }
    } else {
      EXPECT_TRUE(fixture.note("class").ends_with("Model"));
    }
  });
}

TEST_P(Parity, OutputsInDouble) { check_outputs<double>(fixture); }
TEST_P(Parity, OutputsInFloat) { check_outputs<float>(fixture); }

// ---- Losses ----

/// The loss with the fixture's labels, which are of texts, of tokens, numbers or positions.
template <class Scalar, class Model>
Tensor<Scalar> loss_of(Context& cx, const Model& model, const Fixture& fixture) {
  const Batch& batch = fixture.batch;
  const auto output = model(cx, batch);
  if constexpr (requires { output.start_logits; }) {
    return model.loss(cx, output, batch, fixture.ids("start_positions"),
                      fixture.ids("end_positions"));
  } else if constexpr (requires { output.prediction_logits; }) {
    return model.loss(cx, output, packed_ids(fixture, "labels"),
                      fixture.ids(fixture.has("sentence_order_label") ? "sentence_order_label"
                                                                      : "next_sentence_label"));
  } else if constexpr (requires { model(cx, batch, Index{1}); }) {
    return model.loss(cx, model(cx, batch, std::stoi(fixture.note("choices"))),
                      fixture.ids("labels"));
  } else if constexpr (requires(std::vector<TokenId> labels) {
                         model.loss(cx, output, batch, labels);
                       }) {
    return model.loss(cx, output, batch, packed_ids(fixture, "labels"));
  } else if constexpr (requires { model.loss(cx, output, output); }) {
    const std::vector<double> values = fixture.values("labels");
    const bool numbers = static_cast<Index>(values.size()) == output.numel();
    if (!numbers) return model.loss(cx, output, fixture.ids("labels"));
    Tensor<Scalar> targets(Shape{output.numel()});
    std::transform(values.begin(), values.end(), targets.data(),
                   [](double value) { return static_cast<Scalar>(value); });
    return model.loss(cx, output, output.size(1) == 1 ? targets : targets.reshape(output.shape()));
  } else {
    return model.loss(
        cx, output,
        Model::reads_first_tokens ? fixture.ids("labels") : packed_ids(fixture, "labels"));
  }
}

template <class Scalar>
void check_gradients(const Fixture& fixture) {
  if (!fixture.has("loss")) return;
  with_model<Scalar>(fixture.folder, {}, [&](const auto& model) {
    Context cx(1);
    Tape<Scalar> tape;
    cx.tape = &tape;
    if constexpr (requires { model.base_model(); }) {
      const Tensor<Scalar> loss = loss_of<Scalar>(cx, model, fixture);
      expect_close<Scalar>(difference(loss, fixture.values("loss")), "loss");
      expect_gradients(model, tape.backward(loss), fixture, gradient_tolerance<Scalar>);
    } else {
      FAIL() << "no loss of " << fixture.note("class");
    }
  });
}

TEST_P(Parity, GradientsInDouble) { check_gradients<double>(fixture); }
TEST_P(Parity, GradientsInFloat) { check_gradients<float>(fixture); }

INSTANTIATE_TEST_SUITE_P(Fixtures, Parity, ::testing::ValuesIn(all_fixture_names()),
                         name_of_instance);

TEST(ParityFixtures, EachClassIsThere) {
  if (std::getenv("EIGENFORMER_MODEL_FIXTURES") != nullptr) GTEST_SKIP() << "other fixtures";
  std::set<std::string> classes;
  std::set<std::string> losses;
  for (const std::string& name : all_fixture_names()) {
    const Fixture fixture(name);
    classes.insert(fixture.note("class"));
    if (fixture.has("loss")) losses.insert(fixture.note("class"));
  }
  EXPECT_EQ(classes.size(), 45u);
  EXPECT_EQ(losses.size(), 36u);
}

}  // namespace parity_test
