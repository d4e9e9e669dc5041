// GPT-2 against Hugging Face transformers in float64: every layer's hidden states and attention
// probabilities, logits, losses and gradients; and the cache against going through texts at once.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/gpt2.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace gpt2_parity_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

template <class Scalar>
constexpr double tolerance = sizeof(Scalar) == sizeof(double) ? 1e-12 : 1e-5;
constexpr double gradient_tolerance = 1e-9;

class Gpt2Parity : public ::testing::TestWithParam<std::string> {
 public:
  Fixture fixture = Fixture(GetParam());
  bool language_model = fixture.note("class") == "GPT2LMHeadModel";
};

template <class Scalar>
void check_decoder(const Fixture& fixture) {
  const auto model = GPT2Model<Scalar>::from_pretrained(fixture.folder);
  Context cx(2);
  const auto out = model.forward(cx, fixture.batch, {.hidden_states = true, .attentions = true});
  const auto layers = static_cast<std::size_t>(model.config().n_layer);
  ASSERT_EQ(out.hidden_states.size(), layers + 1);
  ASSERT_EQ(out.attentions.size(), layers);
  for (std::size_t i = 0; i <= layers; ++i) {
    const std::string name = "hidden_states." + std::to_string(i);
    EXPECT_LE(tokens_difference(out.hidden_states[i], fixture, name).relative(), tolerance<Scalar>)
        << name;
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string name = "attentions." + std::to_string(i);
    EXPECT_LE(attention_difference(out.attentions[i], fixture, name).relative(), tolerance<Scalar>)
        << name;
  }
  EXPECT_TRUE(same_bits(out.last_hidden_state, model(cx, fixture.batch)));
  EXPECT_TRUE(same_bits(out.last_hidden_state, out.hidden_states.back()));
}

TEST_P(Gpt2Parity, DecoderInDouble) { check_decoder<double>(fixture); }
TEST_P(Gpt2Parity, DecoderInFloat) { check_decoder<float>(fixture); }

template <class Scalar>
void check_logits(const Fixture& fixture) {
  const auto model = GPT2LMHeadModel<Scalar>::from_pretrained(fixture.folder);
  Context cx(2);
  const Tensor<Scalar> logits = model(cx, fixture.batch);
  EXPECT_LE(tokens_difference(logits, fixture, "logits").relative(), tolerance<Scalar>);
  std::vector<Index> last;
  for (Index i = 0; i < fixture.rows; ++i) last.push_back(fixture.batch.segment(i).end - 1);
  const Tensor<Scalar> some = model(cx, fixture.batch, last);
  ASSERT_EQ(some.shape(), Shape({fixture.rows, logits.cols()}));
  for (Index i = 0; i < fixture.rows; ++i) {
    const auto expected =
        logits.rows(last[static_cast<std::size_t>(i)], last[static_cast<std::size_t>(i)] + 1);
    EXPECT_LE((some.rows(i, i + 1).array() - expected.array()).abs().maxCoeff(), 1e-5);
  }
}

TEST_P(Gpt2Parity, LogitsInDouble) {
  if (language_model) check_logits<double>(fixture);
}
TEST_P(Gpt2Parity, LogitsInFloat) {
  if (language_model) check_logits<float>(fixture);
}

TEST_P(Gpt2Parity, LossAndGradients) {
  if (!fixture.has("loss")) return;
  const auto model = GPT2LMHeadModel<double>::from_pretrained(fixture.folder);
  for (const bool recompute : {false, true}) {
    Context cx(1);
    Tape<double> tape;
    tape.recompute = recompute;
    cx.tape = &tape;
    const Tensor<double> loss =
        model.loss(cx, model(cx, fixture.batch), fixture.batch, packed_ids(fixture, "labels"));
    EXPECT_LE(difference(loss, fixture.values("loss")).relative(), 1e-12);
    expect_gradients(model, tape.backward(loss), fixture, gradient_tolerance);
  }
}

/// Texts that come in parts of `step` tokens, each its own number of them, as all at once.
template <class Scalar>
void check_cache(const Fixture& fixture, Index step, double largest) {
  if (!fixture.batch.mask.empty()) return;
  const auto model = GPT2Model<Scalar>::from_pretrained(fixture.folder);
  Context cx(2);
  const Tensor<Scalar> expected = model(cx, fixture.batch);
  DecoderCache<Scalar> cache = model.cache(fixture.rows);
  for (Index begin = 0; begin < fixture.length; begin += step) {
    Batch part;
    std::vector<Index> rows;
    for (Index i = 0; i < fixture.rows; ++i) {
      const RowRange text = fixture.batch.segment(i);
      const Index first = std::min(text.begin + begin, text.end);
      const Index last = std::min(first + step, text.end);
      part.add(
          std::span(fixture.batch.ids)
              .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)));
      for (Index row = first; row < last; ++row) rows.push_back(row);
    }
    const Tensor<Scalar> got = model(cx, part, cache);
    ASSERT_EQ(got.size(0), part.tokens());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto at = static_cast<Index>(i);
      EXPECT_LE((got.rows(at, at + 1).array() - expected.rows(rows[i], rows[i] + 1).array())
                    .abs()
                    .maxCoeff(),
                largest);
    }
  }
  for (Index i = 0; i < fixture.rows; ++i) {
    EXPECT_EQ(cache.length(i), fixture.batch.segment(i).size());
  }
}

TEST_P(Gpt2Parity, CacheIsAllAtOnce) {
  for (const Index step : {Index{1}, Index{2}, fixture.length}) {
    SCOPED_TRACE(step);
    check_cache<double>(fixture, step, 1e-12);
    check_cache<float>(fixture, step, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Gpt2Parity, ::testing::ValuesIn(fixture_names("gpt2/")),
                         [](const auto& instance) { return instance.param.substr(5); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Gpt2Parity);  // other fixtures may have no GPT-2

TEST(Gpt2Fixtures, AreThere) {
  if (std::getenv("EIGENFORMER_MODEL_FIXTURES") != nullptr) GTEST_SKIP() << "other fixtures";
  EXPECT_EQ(fixture_names("gpt2/").size(), 20u);
}

// ---- The cache ----

TEST(Gpt2Cache, KeepsSomeOfTheTexts) {
  const auto model = GPT2Model<double>::from_pretrained(fixture_folder("gpt2/lm"));
  Context cx(1);
  Batch texts;
  texts.add(std::vector<TokenId>{3, 4, 5});
  texts.add(std::vector<TokenId>{6});
  texts.add(std::vector<TokenId>{7, 8});
  DecoderCache<double> cache = model.cache(3);
  (void)model(cx, texts, cache);
  cache.keep(std::vector<Index>{0, 2});
  ASSERT_EQ(cache.texts(), 2);
  EXPECT_EQ(cache.length(1), 2);
  Batch more;
  more.add(std::vector<TokenId>{9});
  more.add(std::vector<TokenId>{10});
  const Tensor<double> got = model(cx, more, cache);
  Batch whole;
  whole.add(std::vector<TokenId>{3, 4, 5, 9});
  whole.add(std::vector<TokenId>{7, 8, 10});
  const Tensor<double> expected = model(cx, whole, std::vector<Index>{3, 6});
  EXPECT_LE((got.array() - expected.array()).abs().maxCoeff(), 1e-12);
  EXPECT_THROW(cache.keep(std::vector<Index>{1, 0}), ShapeError);
  EXPECT_THROW(cache.keep(std::vector<Index>{0, 2}), ShapeError);
}

TEST(Gpt2Cache, GrowsBeyondItsFirstRoom) {
  GPT2Config config;
  config.vocab_size = 11;
  config.n_embd = 8;
  config.n_head = 2;
  config.n_layer = 2;
  config.n_positions = 100;
  config.initializer_range = 0.4;
  const GPT2Model<double> model(config);
  Context cx(1);
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < 100; ++i) ids.push_back(i * i % 11);
  Batch whole;
  whole.add(ids);
  const Tensor<double> expected = model(cx, whole);
  DecoderCache<double> cache = model.cache(1);
  for (Index i = 0; i < 100; ++i) {
    Batch one;
    one.add(std::span(ids).subspan(static_cast<std::size_t>(i), 1));
    EXPECT_LE((model(cx, one, cache).array() - expected.rows(i, i + 1).array()).abs().maxCoeff(),
              1e-12)
        << i;
  }
  Batch one;
  one.add(std::vector<TokenId>{1});
  expect_parts(message_of<ShapeError>([&] { (void)model(cx, one, cache); }), {"101", "100"});
}

TEST(Gpt2Cache, RefusesWhatItCannotDo) {
  const auto model = GPT2Model<double>::from_pretrained(fixture_folder("gpt2/lm"));
  Context cx(1);
  Batch one;
  one.add(std::vector<TokenId>{1, 2});
  DecoderCache<double> two = model.cache(2);
  expect_parts(message_of<ShapeError>([&] { (void)model(cx, one, two); }), {"2 texts", "1 texts"});
  DecoderCache<double> cache = model.cache(1);
  Tape<double> tape;
  cx.tape = &tape;
  EXPECT_THROW((void)model(cx, one, cache), NotDifferentiable);
  cx.tape = nullptr;
  one.mask = {0, 1};
  expect_parts(message_of<ShapeError>([&] { (void)model(cx, one, cache); }), {"mask"});
}

}  // namespace gpt2_parity_test
