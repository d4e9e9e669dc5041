// RoBERTa against Hugging Face transformers in float64: every layer's hidden states and attention
// probabilities, pooler and logits, on small models of every kind; and against itself: packed or
// one by one, on any number of threads, saved and loaded again.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"

#include "fixture.hpp"

namespace eigenformer::roberta_parity_test {
using testing_models::Difference;
using testing_models::Fixture;
using testing_models::fixture_names;
using testing_models::same_bits;
using testing_models::TemporaryFolder;

template <class Scalar>
constexpr double tolerance = sizeof(Scalar) == sizeof(double) ? 1e-10 : 1e-5;

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

/// `[tokens, features]` of a packed batch against the padded `[rows, length, features]`.
template <class Scalar>
void expect_tokens(const Tensor<Scalar>& got, const Fixture& fixture, const std::string& name) {
  ASSERT_EQ(got.shape(), Shape({fixture.batch.tokens(), fixture.size(name, 2)})) << name;
  expect_close<Scalar>(testing_models::tokens_difference(got, fixture, name), name);
}

class RobertaParity : public ::testing::TestWithParam<std::string> {
 public:
  static void TearDownTestSuite() {
    std::printf("largest error relative to the largest value: double %.2e, float %.2e\n",
                worst<double>(), worst<float>());
  }
};

/// An encoder of the fixture: its own, or the one inside the masked language model where the file
/// has the word embeddings under the decoder's name alone.
template <class Scalar, class Function>
void with_encoder(const Fixture& fixture, Function&& function) {
  if (fixture.note("base_missing").find("word_embeddings") == std::string::npos) {
    function(RobertaModel<Scalar>::from_pretrained(fixture.folder));
  } else {
    EXPECT_THROW((void)RobertaModel<Scalar>::from_pretrained(fixture.folder), FormatError);
    function(RobertaForMaskedLM<Scalar>::from_pretrained(fixture.folder).roberta());
  }
}

template <class Scalar>
void check_encoder(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const RobertaModel<Scalar>& model) {
    Context cx(2);
    const auto out = model.forward(cx, fixture.batch, {.hidden_states = true, .attentions = true});
    const auto layers = static_cast<std::size_t>(model.config().num_hidden_layers);
    ASSERT_EQ(out.hidden_states.size(), layers + 1);
    ASSERT_EQ(out.attentions.size(), layers);
    for (std::size_t i = 0; i <= layers; ++i) {
      expect_tokens(out.hidden_states[i], fixture, "hidden_states." + std::to_string(i));
    }
    for (std::size_t i = 0; i < layers; ++i) {
      const std::string name = "attentions." + std::to_string(i);
      expect_close<Scalar>(testing_models::attention_difference(out.attentions[i], fixture, name),
                           name);
    }
    EXPECT_TRUE(same_bits(out.last_hidden_state, out.hidden_states.back()));
    EXPECT_TRUE(same_bits(out.last_hidden_state, model(cx, fixture.batch)));
    ASSERT_EQ(out.pooler_output.defined(), fixture.has("pooler_output"));
    if (!out.pooler_output.defined()) return;
    ASSERT_EQ(out.pooler_output.shape(), Shape({fixture.rows, model.config().hidden_size}));
    expect_close<Scalar>(
        testing_models::difference(out.pooler_output, fixture.values("pooler_output")),
        "pooler_output");
  });
}

TEST_P(RobertaParity, EncoderInDouble) { check_encoder<double>(Fixture(GetParam())); }
TEST_P(RobertaParity, EncoderInFloat) { check_encoder<float>(Fixture(GetParam())); }

TEST_P(RobertaParity, PositionIds) {
  const Fixture fixture(GetParam());
  const RobertaConfig config = RobertaConfig::from_pretrained(fixture.folder);
  const auto got = RobertaEmbeddings<float>::position_ids(fixture.batch, config.padding_id());
  const std::vector<TokenId> expected = fixture.ids("position_ids");
  for (Index row = 0; row < fixture.rows; ++row) {
    const RowRange segment = fixture.batch.segment(row);
    for (Index t = 0; t < segment.size(); ++t) {
      EXPECT_EQ(got[static_cast<std::size_t>(segment.begin + t)],
                expected[static_cast<std::size_t>(row * fixture.length + t)]);
    }
  }
}

template <class Scalar>
void check_masked_lm(const Fixture& fixture) {
  const auto model = RobertaForMaskedLM<Scalar>::from_pretrained(fixture.folder);
  Context cx(2);
  const Tensor<Scalar> logits = model(cx, fixture.batch);
  expect_tokens(logits, fixture, "logits");

  const Index last = fixture.batch.tokens() - 1;
  const std::vector<Index> positions = {last, 0, last / 2, 0};
  const Tensor<Scalar> some = model(cx, fixture.batch, positions);
  ASSERT_EQ(some.shape(), Shape({4, logits.size(1)}));
  Difference difference;
  for (Index i = 0; i < 4; ++i) {
    for (Index token = 0; token < logits.size(1); ++token) {
      difference.add(static_cast<double>(some(i, token)),
                     static_cast<double>(logits(positions[static_cast<std::size_t>(i)], token)));
    }
  }
  EXPECT_LE(difference.relative(), tolerance<Scalar> / 10);
}

class RobertaMaskedLmParity : public RobertaParity {};
TEST_P(RobertaMaskedLmParity, Double) { check_masked_lm<double>(Fixture(GetParam())); }
TEST_P(RobertaMaskedLmParity, Float) { check_masked_lm<float>(Fixture(GetParam())); }

/// The texts of a batch, one batch each.
std::vector<Batch> one_by_one(const Batch& batch) {
  std::vector<Batch> all;
  for (Index i = 0; i < batch.segments(); ++i) {
    const RowRange rows = batch.segment(i);
    const auto part = [&](const auto& values) {
      using Values = std::remove_cvref_t<decltype(values)>;
      return values.empty() ? Values()
                            : Values(values.begin() + rows.begin, values.begin() + rows.end);
    };
    Batch& one = all.emplace_back();
    one.ids = part(batch.ids);
    one.type_ids = part(batch.type_ids);
    one.mask = part(batch.mask);
    one.offsets = {0, rows.size()};
  }
  return all;
}

template <class Scalar>
void check_packing(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const RobertaModel<Scalar>& model) {
    Context cx(1);
    const Tensor<Scalar> packed = model(cx, fixture.batch);
    const std::vector<Batch> texts = one_by_one(fixture.batch);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Tensor<Scalar> alone = model(cx, texts[i]);
      const Tensor<Scalar> within = packed.rows(fixture.batch.segment(static_cast<Index>(i)));
      Difference difference;
      for (Index t = 0; t < alone.size(0); ++t) {
        for (Index j = 0; j < alone.size(1); ++j) {
          difference.add(static_cast<double>(alone(t, j)), static_cast<double>(within(t, j)));
        }
      }
      EXPECT_LE(difference.relative(), tolerance<Scalar>) << "text " << i;
    }
  });
}

TEST_P(RobertaParity, PackedIsOneByOne) {
  check_packing<double>(Fixture(GetParam()));
  check_packing<float>(Fixture(GetParam()));
}

template <class Scalar>
void check_threads(const Fixture& fixture) {
  with_encoder<Scalar>(fixture, [&](const RobertaModel<Scalar>& model) {
    Batch many;  // the same texts many times over: enough work to share
    for (int copy = 0; copy < 40; ++copy) {
      for (const Batch& text : one_by_one(fixture.batch)) many.add(text.ids, text.type_ids);
    }
    Context one(1);
    const auto expected = model.forward(one, many);
    for (const int threads : {2, 3, 7}) {
      Context cx(threads);
      const auto got = model.forward(cx, many);
      EXPECT_TRUE(same_bits(got.last_hidden_state, expected.last_hidden_state)) << threads;
      ASSERT_EQ(got.pooler_output.defined(), expected.pooler_output.defined());
      if (got.pooler_output.defined()) {
        EXPECT_TRUE(same_bits(got.pooler_output, expected.pooler_output)) << threads;
      }
    }
  });
}

TEST_P(RobertaParity, ThreadsDoNotChangeABit) {
  check_threads<double>(Fixture(GetParam()));
  check_threads<float>(Fixture(GetParam()));
}

/// Saves, and compares the configuration with the one that was loaded.
template <class Model>
void check_saved_folder(const Model& model, const std::string& folder, const Fixture& fixture) {
  model.save_pretrained(folder);
  const RobertaConfig before = RobertaConfig::from_pretrained(fixture.folder);
  const RobertaConfig after = RobertaConfig::from_pretrained(folder);
  Json expected = before.to_json();
  Json written = after.to_json();
  for (const char* key : {"dtype", "architectures", "transformers_version"}) {
    expected.erase(key);
    written.erase(key);
  }
  EXPECT_EQ(written, expected);
}

template <class Scalar>
void check_round_trip(const Fixture& fixture) {
  Context cx(1);
  const TemporaryFolder folder;
  if (fixture.masked_lm()) {
    const auto model = RobertaForMaskedLM<Scalar>::from_pretrained(fixture.folder);
    check_saved_folder(model, folder.path(), fixture);
    const auto again = RobertaForMaskedLM<Scalar>::from_pretrained(folder.path());
    EXPECT_TRUE(same_bits(again(cx, fixture.batch), model(cx, fixture.batch)));
    EXPECT_TRUE(again.load_report().missing.empty());
    EXPECT_TRUE(again.load_report().unexpected.empty());
    // The names under which transformers saves such a model.
    const Checkpoint saved = Checkpoint::open(folder.path());
    for (const std::string& name : saved.names()) {
      EXPECT_TRUE(name.starts_with("roberta.e") || name.starts_with("lm_head.")) << name;
      EXPECT_EQ(saved.info(name).dtype, dtype_of<Scalar>) << name;
    }
    EXPECT_TRUE(saved.contains("lm_head.bias"));
    EXPECT_TRUE(saved.contains("roberta.embeddings.word_embeddings.weight"));
    const bool own_decoder =
        !model.config().tie_word_embeddings || fixture.folder.ends_with("tied_but_different");
    EXPECT_EQ(saved.contains("lm_head.decoder.weight"), own_decoder);
    EXPECT_EQ(saved.contains("lm_head.decoder.bias"), own_decoder);
  } else {
    const auto model = RobertaModel<Scalar>::from_pretrained(fixture.folder);
    check_saved_folder(model, folder.path(), fixture);
    const auto again = RobertaModel<Scalar>::from_pretrained(folder.path());
    const auto expected = model.forward(cx, fixture.batch);
    const auto got = again.forward(cx, fixture.batch);
    EXPECT_TRUE(same_bits(got.last_hidden_state, expected.last_hidden_state));
    ASSERT_EQ(got.pooler_output.defined(), expected.pooler_output.defined());
    if (got.pooler_output.defined()) {
      EXPECT_TRUE(same_bits(got.pooler_output, expected.pooler_output));
    }
    for (const std::string& name : Checkpoint::open(folder.path()).names()) {
      EXPECT_TRUE(name.starts_with("embeddings.") || name.starts_with("encoder.") ||
                  name.starts_with("pooler."))
          << name;
    }
  }
}

TEST_P(RobertaParity, SavesWhatItLoaded) {
  check_round_trip<double>(Fixture(GetParam()));
  check_round_trip<float>(Fixture(GetParam()));
}

const auto name_of_instance = [](const auto& instance) { return instance.param; };

INSTANTIATE_TEST_SUITE_P(Fixtures, RobertaParity, ::testing::ValuesIn(fixture_names()),
                         name_of_instance);
INSTANTIATE_TEST_SUITE_P(Fixtures, RobertaMaskedLmParity,
                         ::testing::ValuesIn(fixture_names(&Fixture::masked_lm)), name_of_instance);

TEST(RobertaFixtures, AreThere) {
  if (std::getenv("EIGENFORMER_MODEL_FIXTURES") != nullptr) GTEST_SKIP() << "other fixtures";
  EXPECT_GE(fixture_names().size(), 39u);
  EXPECT_GE(fixture_names(&Fixture::masked_lm).size(), 14u);
}

}  // namespace eigenformer::roberta_parity_test
