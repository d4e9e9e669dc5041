// ALBERT's configuration and layers: keys of its own, layers that are held once and applied several
// times, a pooler without a name of its own.
#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/albert.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace albert_loading_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

AlbertConfig parse(const std::string& text) {
  return AlbertConfig::from_json(parse_json(text, "dir/config.json"), "dir/config.json");
}
std::string refused(const std::string& text) {
  return message_of<ConfigError>([&] { (void)parse(text); });
}

AlbertConfig small(const Json& own = Json::object()) {
  AlbertConfig config;
  config.vocab_size = 10;
  config.hidden_size = config.intermediate_size = 8;
  config.num_attention_heads = 2;
  config.num_hidden_layers = 4;
  config.extra = own;
  return config;
}

std::vector<std::string> names_of(const auto& model) {
  std::vector<std::string> names;
  for (const auto& named : named_parameters(model)) names.push_back(named.name);
  return names;
}
bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// ---- AlbertConfig ----

/// albert-base-v2's file, with keys that no model has used.
TEST(AlbertConfig, ReadsThePublishedFile) {
  const AlbertConfig config = parse(R"({"architectures": ["AlbertForMaskedLM"],
      "attention_probs_dropout_prob": 0, "bos_token_id": 2, "classifier_dropout_prob": 0.1,
      "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0,
      "hidden_act": "gelu_new", "hidden_dropout_prob": 0, "hidden_size": 768,
      "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 3072,
      "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "albert",
      "net_structure_type": 0, "num_attention_heads": 12, "num_hidden_groups": 1,
      "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2,
      "vocab_size": 30000})");
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.hidden_act, Activation::gelu_tanh);
  EXPECT_EQ(config.hidden_dropout_prob, 0);
  EXPECT_EQ(config.classifier_dropout_prob(), 0.1);
  EXPECT_EQ(config.class_name("ForPreTraining"), "AlbertForPreTraining");
  EXPECT_EQ(config.unknown_keys(),
            (std::vector<std::string>{"down_scale_factor", "gap_size", "net_structure_type",
                                      "num_memory_blocks"}));
}

/// Those of AlbertConfig() in transformers.
TEST(AlbertConfig, HasTheClassDefaults) {
  for (const AlbertConfig& config : {AlbertConfig(), parse("{}")}) {
    const Json saved = config.to_json();
    const Json expected = parse_json(R"({"attention_probs_dropout_prob": 0.0, "bos_token_id": 2,
        "classifier_dropout_prob": 0.1, "eos_token_id": 3, "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0, "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 16384, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
        "model_type": "albert", "num_attention_heads": 64, "num_hidden_layers": 12,
        "pad_token_id": 0, "tie_word_embeddings": true, "type_vocab_size": 2,
        "vocab_size": 30000})",
                                     "");
    for (const auto& [key, value] : expected.items()) EXPECT_EQ(saved.at(key), value) << key;
    EXPECT_FALSE(saved.contains("classifier_dropout"));
    EXPECT_EQ(parse(saved.dump()).to_json(), saved);
  }
}

TEST(AlbertConfig, ItsOwnKeysAreKept) {
  const AlbertConfig config =
      parse(R"({"classifier_dropout_prob": 0.3, "hidden_dropout_prob": 0.2, "embedding_size": 5,
          "num_hidden_groups": 2, "inner_group_num": 3, "is_decoder": true})");
  EXPECT_EQ(config.classifier_dropout_prob(), 0.3);
  EXPECT_FALSE(config.is_decoder);  // its attention is never causal
  EXPECT_EQ(config.unknown_keys(), std::vector<std::string>{"is_decoder"});
  const Json saved = config.to_json();
  for (const auto& [key, value] :
       {std::pair("embedding_size", 5), {"num_hidden_groups", 2}, {"inner_group_num", 3}}) {
    EXPECT_EQ(saved.at(key), value) << key;
  }
  EXPECT_EQ(saved.at("classifier_dropout_prob"), 0.3);
}

TEST(AlbertConfig, RefusalsNameItsKeys) {
  expect_parts(refused(R"({"classifier_dropout_prob": 2})"),
               {"dir/config.json", "'classifier_dropout_prob' is 2", "0 to 1"});
  expect_parts(refused(R"({"classifier_dropout_prob": null})"),
               {"'classifier_dropout_prob' is null", "0 to 1"});
  expect_parts(refused(R"({"position_embedding_type": "relative_key"})"),
               {"'position_embedding_type' is relative_key", "absolute"});
  expect_parts(refused(R"({"model_type": "bert"})"), {"'model_type' is bert", "one of albert"});
  for (const char* key : {"embedding_size", "num_hidden_groups", "inner_group_num"}) {
    for (const Json& value : {Json(0), Json(-1), Json("2"), Json(1.0), Json(Index{1} << 40)}) {
      expect_parts(message_of<ConfigError>([&] {
                     (void)AlbertModel<float>(small({{key, value}}));
                   }),
                   {"'" + std::string(key) + "' is " + value.dump(), "it must be"});
    }
  }
  expect_parts(
      message_of<ConfigError>([&] {
        (void)AlbertModel<float>(small({{"num_hidden_groups", 10000}, {"inner_group_num", 2}}));
      }),
      {"'inner_group_num' is 2", "from 1 to 1"});
}

// ---- Layers ----

TEST(AlbertModel, LayersAreHeldOnce) {
  const AlbertModel<double> model(
      small({{"embedding_size", 8}, {"num_hidden_groups", 2}, {"inner_group_num", 3}}));
  const auto names = names_of(model);
  int layers = 0;
  for (const std::string& name : names) layers += name.ends_with(".ffn_output.weight") ? 1 : 0;
  EXPECT_EQ(layers, 6);
  for (const char* name :
       {"encoder.albert_layer_groups.1.albert_layers.2.attention.query.weight",
        "encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.bias",
        "encoder.embedding_hidden_mapping_in.weight",  // though sizes agree
        "pooler.weight", "pooler.bias"}) {
    EXPECT_TRUE(has(names, name)) << name;
  }
  Context cx(1);
  Batch batch;
  batch.add(std::vector<TokenId>{1, 2, 3}, {});
  const auto output = model.forward(cx, batch, {.hidden_states = true, .attentions = true});
  EXPECT_EQ(output.hidden_states.size(), 4u * 3 + 1);
  EXPECT_EQ(output.attentions.size(), 4u * 3);
}

/// Recomputing a layer for the backward pass adds its gradients up as well.
TEST(AlbertModel, SharedGradientsAddUpWhenRecomputed) {
  for (const std::string name : {"albert/pretraining_groups", "albert/masked_lm"}) {
    const Fixture fixture(name);
    const auto model = AlbertModel<double>::from_pretrained(fixture.folder);
    const auto gradients = [&](bool recompute) {
      Context cx(1);
      Tape<double> tape;
      tape.recompute = recompute;
      cx.tape = &tape;
      const Tensor<double> hidden = model(cx, fixture.batch);
      const Gradients<double> all =
          tape.backward(mean_squared_error(cx, hidden, Tensor<double>::zeros(hidden.shape())));
      Outputs<double> found;
      for (const auto& named : named_parameters(model)) {
        const Tensor<double>* gradient = all.find(named.parameter.value());
        if (gradient != nullptr) found[named.name] = gradient->clone();
      }
      return found;
    };
    const auto expected = gradients(false);
    const auto got = gradients(true);
    EXPECT_EQ(got.size(), expected.size());
    for (const auto& [key, value] : expected) {
      const std::vector<double> numbers(value.data(), value.data() + value.numel());
      EXPECT_LE(difference(got.at(key), numbers).relative(), 1e-12) << key;
    }
  }
}

/// The feed-forward network's output is never dropped, the attention's is.
TEST(AlbertLayer, DropsTheAttentionsOutputAlone) {
  Tensor<double> x({3, 8});
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<double>((i * 7) % 11) / 5;
  const auto output = [&]<class Layer>(std::type_identity<Layer>, EncoderLayerOptions options) {
    options.hidden = options.intermediate = 8;
    options.heads = 2;
    const Layer layer(options, Initializer(1, 0.5));
    Context cx(1);
    DropoutGenerator dropped(1);
    cx.dropout = &dropped;
    return layer(cx, x);
  };
  constexpr std::type_identity<EncoderLayer<double>> usual;
  const Tensor<double> got = output(std::type_identity<AlbertLayer<double>>(), {.dropout = 0.5});
  EXPECT_TRUE(same_bits(got, output(usual, {.dropout = 0.5, .feed_forward_dropout = 0})));
  EXPECT_FALSE(same_bits(got, output(usual, {.dropout = 0.5})));
  EXPECT_FALSE(same_bits(got, output(usual, {.dropout = 0})));
}

// ---- Files ----

TEST(AlbertFiles, AHeadedFileHasTheEncoder) {
  const std::string folder = fixture_folder("albert/pretraining");
  const auto model = AlbertModel<float>::from_pretrained(folder);
  EXPECT_TRUE(model.pooler().has_value());
  EXPECT_TRUE(model.load_report().missing.empty());
  EXPECT_TRUE(has(model.load_report().unexpected, "sop_classifier.classifier.weight"));
  // A masked language model has no pooler; the file of another may hold one.
  const auto without = AlbertForMaskedLM<float>::from_pretrained(folder);
  EXPECT_FALSE(without.albert().pooler().has_value());
  EXPECT_TRUE(has(without.load_report().unexpected, "albert.pooler.weight"));
  const auto with = AlbertForMaskedLM<float>::from_pretrained(folder, {.keep_pooler = true});
  EXPECT_TRUE(with.albert().pooler().has_value());
  EXPECT_FALSE(has(with.load_report().unexpected, "albert.pooler.weight"));
}

/// As versions before 4.31 saved it.
TEST(AlbertFiles, BuffersArePassedOver) {
  const ChangedFixture changed("albert/masked_lm", [](Json&, StoredTensors& tensors) {
    StoredTensor ids{DType::i64, {1, 2}, std::vector<std::byte>(16)};
    tensors["albert.embeddings.position_ids"] = ids;
  });
  EXPECT_TRUE(
      AlbertForMaskedLM<float>::from_pretrained(changed.path()).load_report().unexpected.empty());
}

TEST(AlbertFiles, HeadsAreMadeFresh) {
  const std::string folder = fixture_folder("albert/masked_lm");
  EXPECT_THROW((void)AlbertForSequenceClassification<float>::from_pretrained(folder), FormatError);
  const auto model = AlbertForSequenceClassification<float>::from_pretrained(
      folder, {.initialize_missing_head = true});
  EXPECT_EQ(model.load_report().missing,
            (std::vector<std::string>{"albert.pooler.weight", "albert.pooler.bias",
                                      "classifier.weight", "classifier.bias"}));
}

TEST(AlbertFiles, AllGroupsAreNeeded) {
  const std::string prefix = "albert.encoder.albert_layer_groups.1.";
  const ChangedFixture changed("albert/pretraining_groups", [&](Json&, StoredTensors& tensors) {
    std::erase_if(tensors, [&](const auto& entry) { return entry.first.starts_with(prefix); });
  });
  expect_parts(message_of<FormatError>(
                   [&] { (void)AlbertForPreTraining<float>::from_pretrained(changed.path()); }),
               {changed.path(), "missing: " + prefix + "albert_layers.0.attention.query.weight"});
  const ChangedFixture fewer("albert/pretraining_groups", [&](Json& config, StoredTensors&) {
    config["num_hidden_groups"] = 1;
  });
  expect_parts(message_of<FormatError>(
                   [&] { (void)AlbertForPreTraining<float>::from_pretrained(fewer.path()); }),
               {fewer.path(), "not in the model: " + prefix});
}

/// A layer is packed once, and gives its numbers up.
TEST(AlbertFiles, LayersArePackedOnce) {
  const Fixture fixture("albert/pretraining_groups");
  const LoadOptions options{.precision = Precision::int8};
  const auto packed = AlbertForPreTraining<float>::from_pretrained(fixture.folder, options);
  for (const auto& named : named_parameters(packed)) {
    if (named.name.find("albert_layers") == std::string::npos) continue;
    EXPECT_EQ(named.parameter.kept_pack() != nullptr, named.parameter.shape().rank() == 2)
        << named.name;
  }
  const auto model = AlbertForPreTraining<float>::from_pretrained(fixture.folder);
  Context cx(1);
  EXPECT_LE(
      tokens_difference(packed(cx, fixture.batch).prediction_logits, fixture, "prediction_logits")
          .relative(),
      0.1);
}

}  // namespace albert_loading_test
