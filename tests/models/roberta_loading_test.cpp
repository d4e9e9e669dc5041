// Loading RoBERTa: which tensor wins where names are tied, what is reported, and refusals that name
// the tensor, for files and for inputs.
#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/roberta.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace eigenformer::roberta_loading_test {
using testing_models::ChangedFixture;
using testing_models::Fixture;
using testing_models::fixture_folder;
using testing_models::fixture_names;
using testing_models::packed_ids;
using testing_models::same_bits;
using testing_models::StoredTensor;
using testing_models::StoredTensors;
using testing_models::TemporaryFolder;
using tests::expect_parts;
using tests::message_of;

using MaskedLm = RobertaForMaskedLM<double>;
using Encoder = RobertaModel<double>;

constexpr const char* words = "roberta.embeddings.word_embeddings.weight";
constexpr const char* decoder = "lm_head.decoder.weight";
constexpr const char* decoder_bias = "lm_head.decoder.bias";
constexpr const char* head_bias = "lm_head.bias";

/// A float tensor with 1 added to every second value.
StoredTensor different(StoredTensor tensor) {
  for (std::size_t i = 0; i + sizeof(float) <= tensor.bytes.size(); i += 2 * sizeof(float)) {
    float value = 0;
    std::memcpy(&value, &tensor.bytes[i], sizeof(float));
    value += 1;
    std::memcpy(&tensor.bytes[i], &value, sizeof(float));
  }
  return tensor;
}

enum class In { neither, source, target, both_equal, both_different };

/// Leaves a tied pair of tensors in the file as `in` says.
void place(StoredTensors& tensors, const char* source, const char* target, In in) {
  const StoredTensor value = tensors.at(source);
  if (in == In::neither || in == In::target) tensors.erase(source);
  if (in == In::target || in == In::both_equal) tensors[target] = value;
  if (in == In::both_different) tensors[target] = different(value);
}

class RobertaTie : public ::testing::TestWithParam<std::tuple<In, In>> {};

/// transformers 5.15.1: a decoder in the file that differs is kept and used, one that is equal or
/// absent is tied, and a decoder alone stands for both. Weight and bias do not influence each
/// other.
TEST_P(RobertaTie, FollowsTransformers) {
  const In weight = std::get<0>(GetParam());
  const In bias = std::get<1>(GetParam());
  const Fixture fixture("mlm_gelu");
  const ChangedFixture given("mlm_gelu", [&](Json&, StoredTensors& tensors) {
    place(tensors, words, decoder, weight);
    place(tensors, head_bias, decoder_bias, bias);
  });
  const ChangedFixture untied("mlm_gelu", [&](Json& config, StoredTensors& tensors) {
    config["tie_word_embeddings"] = false;
    const bool own = weight == In::both_different;
    place(tensors, words, decoder, own ? In::both_different : In::both_equal);
    place(tensors, head_bias, decoder_bias,
          bias == In::both_different ? In::both_different : In::both_equal);
  });
  const MaskedLm model = MaskedLm::from_pretrained(given.path());
  Context cx(1);
  const Tensor<double> logits = model(cx, fixture.batch);
  EXPECT_TRUE(same_bits(logits, MaskedLm::from_pretrained(untied.path())(cx, fixture.batch)));

  const TemporaryFolder folder;
  model.save_pretrained(folder.path());
  const Checkpoint saved = Checkpoint::open(folder.path());
  EXPECT_TRUE(saved.contains(words));
  EXPECT_TRUE(saved.contains(head_bias));
  EXPECT_EQ(saved.contains(decoder), weight == In::both_different);
  EXPECT_EQ(saved.contains(decoder_bias), bias == In::both_different);
  EXPECT_TRUE(same_bits(logits, MaskedLm::from_pretrained(folder.path())(cx, fixture.batch)));
}

const auto pairs = ::testing::Values(In::source, In::target, In::both_equal, In::both_different);
INSTANTIATE_TEST_SUITE_P(All, RobertaTie, ::testing::Combine(pairs, pairs));

TEST(RobertaLoading, TiedWithoutEitherNameIsAnError) {
  const ChangedFixture no_words("mlm_gelu", [&](Json&, StoredTensors& tensors) {
    place(tensors, words, decoder, In::neither);
  });
  const ChangedFixture no_bias("mlm_gelu", [&](Json&, StoredTensors& tensors) {
    place(tensors, head_bias, decoder_bias, In::neither);
  });
  expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(no_words.path()); }),
               {no_words.path(), "word_embeddings.weight"});
  expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(no_bias.path()); }),
               {no_bias.path(), head_bias});
}

/// An untied decoder is a matter of its own: lm_head.bias does not stand in for its bias.
TEST(RobertaLoading, AnUntiedDecoderMustBeThere) {
  for (const char* name : {decoder, decoder_bias}) {
    const ChangedFixture changed("untied_gelu_new",
                                 [&](Json&, StoredTensors& tensors) { tensors.erase(name); });
    expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(changed.path()); }),
                 {name});
  }
}

TEST(RobertaLoading, HeadBiasOfAnUntiedDecoderIsNotUsed) {
  const Fixture fixture("untied_gelu_new");
  Context cx(1);
  const auto expected = MaskedLm::from_pretrained(fixture.folder)(cx, fixture.batch);
  const ChangedFixture changed("untied_gelu_new", [&](Json&, StoredTensors& tensors) {
    tensors[head_bias] = different(tensors.at(head_bias));
  });
  EXPECT_TRUE(same_bits(expected, MaskedLm::from_pretrained(changed.path())(cx, fixture.batch)));
}

TEST(RobertaLoading, ShapesMustFitTheConfiguration) {
  struct Change {
    std::string key;
    int value;
    std::vector<std::string> parts;
  };
  const std::vector<Change> changes = {
      {"vocab_size", 42, {"word_embeddings.weight", "[41, 12]", "[42, 12]", "lm_head.bias"}},
      {"max_position_embeddings", 17, {"position_embeddings.weight", "[16, 12]", "[17, 12]"}},
      {"type_vocab_size", 2, {"token_type_embeddings.weight", "[1, 12]", "[2, 12]"}},
      {"intermediate_size", 18, {"intermediate.dense.weight", "[17, 12]", "[18, 12]"}},
      {"hidden_size", 15, {"[41, 12]", "[41, 15]"}},
      {"num_hidden_layers", 4, {"missing", "encoder.layer.3."}},
  };
  for (const Change& change : changes) {
    const ChangedFixture changed(
        "mlm_gelu", [&](Json& config, StoredTensors&) { config[change.key] = change.value; });
    expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(changed.path()); }),
                 change.parts);
  }
}

/// A configuration of absurd size is found not to fit before memory is asked for.
TEST(RobertaLoading, AbsurdSizesCostNothing) {
  const ChangedFixture changed("mlm_gelu", [&](Json& config, StoredTensors&) {
    config["vocab_size"] = 2147483647;
    config["hidden_size"] = 1048575;
    config["intermediate_size"] = 16777216;
    config["max_position_embeddings"] = 2147483647;
    config["num_hidden_layers"] = 100;
  });
  EXPECT_THROW((void)MaskedLm::from_pretrained(changed.path()), FormatError);
  EXPECT_THROW((void)Encoder::from_pretrained(changed.path()), FormatError);
}

TEST(RobertaLoading, WholeNumbersAreNotWeights) {
  const ChangedFixture changed("mlm_gelu", [&](Json&, StoredTensors& tensors) {
    tensors.at("lm_head.dense.bias").dtype = DType::i32;
  });
  expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(changed.path()); }),
               {"lm_head.dense.bias", "I32"});
}

TEST(RobertaLoading, TwoNamesOfOneParameterAreRefused) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"roberta.embeddings.LayerNorm.weight", "roberta.embeddings.LayerNorm.gamma"},
      {"roberta.embeddings.LayerNorm.weight", "embeddings.LayerNorm.weight"},
      {"lm_head.dense.bias", "module.lm_head.dense.bias"},
  };
  for (const auto& pair : names) {
    const ChangedFixture changed("mlm_gelu", [&](Json&, StoredTensors& tensors) {
      tensors[pair.second] = tensors.at(pair.first);
    });
    expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(changed.path()); }),
                 {pair.first, pair.second});
  }
}

/// What transformers reports as unexpected, except the buffer of type ids, which is harmless.
TEST(RobertaLoading, ReportsWhatIsUnexpected) {
  for (const std::string& name : fixture_names()) {
    const Fixture fixture(name);
    const auto expect_report = [&](const LoadReport& report, std::string expected) {
      EXPECT_TRUE(report.missing.empty()) << name;
      std::string got;
      std::vector<std::string> sorted = report.unexpected;
      std::sort(sorted.begin(), sorted.end());
      for (std::string key : sorted) {
        if (key.starts_with("module.")) key.erase(0, std::strlen("module."));
        got += (got.empty() ? "" : " ") + key;
      }
      const std::string buffer = "roberta.embeddings.token_type_ids";
      if (expected.ends_with(buffer)) expected.resize(expected.size() - buffer.size());
      if (expected.ends_with(' ')) expected.pop_back();
      EXPECT_EQ(got, expected) << name;
    };
    if (fixture.masked_lm()) {
      expect_report(MaskedLm::from_pretrained(fixture.folder).load_report(),
                    fixture.note("mlm_unexpected"));
    }
    if (fixture.has_encoder()) {
      expect_report(Encoder::from_pretrained(fixture.folder).load_report(),
                    fixture.note("base_unexpected"));
    }
  }
}

TEST(RobertaLoading, UnknownTensorsOutsideTheEncoderAreReported) {
  const ChangedFixture changed("mlm_gelu", [&](Json&, StoredTensors& tensors) {
    tensors["classifier.bias"] = tensors.at(head_bias);
  });
  const MaskedLm model = MaskedLm::from_pretrained(changed.path());
  EXPECT_EQ(model.load_report().unexpected, std::vector<std::string>{"classifier.bias"});
}

TEST(RobertaLoading, AHeadIsInitialisedOnlyOnRequest) {
  const std::string folder = fixture_folder("base_pooler");
  expect_parts(message_of<FormatError>([&] { (void)MaskedLm::from_pretrained(folder); }),
               {"missing", "lm_head.dense.weight", "lm_head.bias"});
  const MaskedLm model = MaskedLm::from_pretrained(folder, {.initialize_missing_head = true});
  EXPECT_EQ(model.load_report().missing,
            (std::vector<std::string>{"lm_head.dense.weight", "lm_head.dense.bias",
                                      "lm_head.layer_norm.weight", "lm_head.layer_norm.bias",
                                      "lm_head.bias"}));
  EXPECT_EQ(model.load_report().unexpected,
            (std::vector<std::string>{"pooler.dense.bias", "pooler.dense.weight"}));
  const Encoder encoder =
      Encoder::from_pretrained(fixture_folder("base_no_pooler"), {.initialize_missing_head = true});
  EXPECT_EQ(encoder.load_report().missing,
            (std::vector<std::string>{"pooler.dense.weight", "pooler.dense.bias"}));
  const Fixture fixture("base_no_pooler");
  Context cx(1);
  EXPECT_TRUE(encoder.forward(cx, fixture.batch).pooler_output.defined());
}

TEST(RobertaLoading, ConfigurationsAreChecked) {
  const std::vector<std::pair<std::string, Json>> changes = {
      {"pad_token_id", nullptr},     {"position_embedding_type", "relative_key"},
      {"add_cross_attention", true}, {"model_type", "bert"},
      {"hidden_act", "foo"},         {"num_attention_heads", 5},
  };
  for (const auto& change : changes) {
    const ChangedFixture changed(
        "mlm_gelu", [&](Json& config, StoredTensors&) { config[change.first] = change.second; });
    expect_parts(message_of<ConfigError>([&] { (void)MaskedLm::from_pretrained(changed.path()); }),
                 {change.first});
    expect_parts(message_of<ConfigError>([&] { (void)Encoder::from_pretrained(changed.path()); }),
                 {change.first});
  }
}

TEST(RobertaInputs, AreChecked) {
  const Fixture fixture("mlm_gelu");  // 41 words, 14 positions, 1 type
  const Encoder model = Encoder::from_pretrained(fixture.folder);
  Context cx(1);
  const auto run = [&](const std::vector<TokenId>& ids, const std::vector<TokenId>& types = {}) {
    Batch batch;
    batch.add(ids, types);
    return model(cx, batch);
  };
  EXPECT_EQ(run({0, 40, 2}).shape(), Shape({3, 12}));
  EXPECT_EQ(run(std::vector<TokenId>(14, 5)).size(0), 14);
  expect_parts(message_of<ShapeError>([&] { (void)run(std::vector<TokenId>(15, 5)); }),
               {"15", "14"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 41, 2}); }), {"41"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, -1, 2}); }), {"-1"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 5, 2}, {0, 1, 0}); }), {"1"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 5, 2}, {0, -1, 0}); }), {"-1"});
  Batch broken;
  broken.ids = {0, 5, 2};
  EXPECT_THROW((void)model(cx, broken), ShapeError);
  broken.offsets = {0, 2, 1, 3};
  EXPECT_THROW((void)model(cx, broken), ShapeError);
  broken.offsets = {0, 3};
  broken.mask = {1};
  EXPECT_THROW((void)model(cx, broken), ShapeError);
}

TEST(RobertaInputs, PositionIds) {
  for (const std::string& name : fixture_names()) {
    const Fixture fixture(name);
    const TokenId padding = RobertaConfig::from_pretrained(fixture.folder).padding_id();
    EXPECT_EQ(RobertaEmbeddings<float>::position_ids(fixture.batch, padding),
              packed_ids(fixture, "position_ids"))
        << name;
  }
}

/// Positions count the tokens that are not padding: pads take up none of them.
TEST(RobertaInputs, PaddingTakesNoPosition) {
  const Fixture fixture("mlm_gelu");
  const Encoder model = Encoder::from_pretrained(fixture.folder);
  Context cx(1);
  std::vector<TokenId> ids(20, 1);
  std::vector<std::uint8_t> mask(20, 0);
  for (std::size_t i = 6; i < 20; ++i) {
    ids[i] = 5;
    mask[i] = 1;
  }
  const Tensor<double> padded = model(cx, Batch::from_padded(ids, 1, 20, mask)).rows(6, 20);
  Batch plain;
  plain.add(std::vector<TokenId>(14, 5));
  const Tensor<double> expected = model(cx, plain);
  EXPECT_LE((padded.array() - expected.array()).abs().maxCoeff(), 1e-12);
}

TEST(RobertaInputs, NoTexts) {
  const Fixture fixture("mlm_gelu");
  const MaskedLm model = MaskedLm::from_pretrained(fixture.folder);
  Context cx(2);
  const Batch none;
  EXPECT_EQ(model(cx, none).shape(), Shape({0, 41}));
  EXPECT_EQ(model(cx, fixture.batch, {}).shape(), Shape({0, 41}));
  const std::vector<Index> outside = {fixture.batch.tokens()};
  EXPECT_THROW((void)model(cx, fixture.batch, outside), ShapeError);
  const std::vector<Index> negative = {-1};
  EXPECT_THROW((void)model(cx, fixture.batch, negative), ShapeError);
  Batch gap;  // an empty text between two others
  gap.add(std::vector<TokenId>{0, 5, 2});
  gap.add(std::vector<TokenId>{});
  gap.add(std::vector<TokenId>{0, 6, 2});
  EXPECT_EQ(model(cx, gap).shape(), Shape({6, 41}));
}

}  // namespace eigenformer::roberta_loading_test
