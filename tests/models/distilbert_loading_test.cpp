// DistilBERT's configuration and files: keys of its own, no types and no pooler; RoBERTa distilled,
// which is RoBERTa; and what is said of families that are not supported.
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace distilbert_loading_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

DistilBertConfig parse(const std::string& text) {
  return DistilBertConfig::from_json(parse_json(text, "dir/config.json"), "dir/config.json");
}
std::string refused(const std::string& text) {
  return message_of<ConfigError>([&] { (void)parse(text); });
}

// ---- DistilBertConfig ----

/// distilbert-base-uncased's file has the class defaults.
TEST(DistilBertConfig, ReadsThePublishedFile) {
  const DistilBertConfig made;
  const DistilBertConfig read = parse(R"({"activation": "gelu", "attention_dropout": 0.1,
      "dim": 768, "dropout": 0.1, "hidden_dim": 3072, "initializer_range": 0.02,
      "max_position_embeddings": 512, "model_type": "distilbert", "n_heads": 12, "n_layers": 6,
      "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
      "sinusoidal_pos_embds": false, "tie_weights_": true, "vocab_size": 30522})");
  for (const DistilBertConfig& config : {made, read}) {
    EXPECT_EQ(config.model_type, "distilbert");
    EXPECT_EQ(config.vocab_size, 30522);
    EXPECT_EQ(config.hidden_size, 768);
    EXPECT_EQ(config.num_hidden_layers, 6);
    EXPECT_EQ(config.num_attention_heads, 12);
    EXPECT_EQ(config.intermediate_size, 3072);
    EXPECT_EQ(config.hidden_act, Activation::gelu);
    EXPECT_EQ(config.type_vocab_size, 0);
    EXPECT_EQ(config.layer_norm_eps, 1e-12);
    EXPECT_EQ(config.max_tokens(), 512);
    EXPECT_EQ(config.own_probability("seq_classif_dropout", 0.2), 0.2);
    EXPECT_EQ(config.class_name("ForMaskedLM"), "DistilBertForMaskedLM");
  }
  EXPECT_EQ(read.unknown_keys(), std::vector<std::string>{"tie_weights_"});
}

TEST(DistilBertConfig, EachKeyHasItsOwnName) {
  const std::string text = R"({"model_type": "distilbert", "dim": 12, "n_layers": 3, "n_heads": 4,
      "hidden_dim": 17, "activation": "relu", "dropout": 0.3, "attention_dropout": 0.4,
      "seq_classif_dropout": 0.5, "is_decoder": true, "type_vocab_size": 2, "hidden_act": "tanh"})";
  const DistilBertConfig config = parse(text);
  EXPECT_EQ(config.hidden_size, 12);
  EXPECT_EQ(config.num_hidden_layers, 3);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.intermediate_size, 17);
  EXPECT_EQ(config.hidden_act, Activation::relu);
  EXPECT_EQ(config.hidden_dropout_prob, 0.3);
  EXPECT_EQ(config.classifier_dropout_prob(), 0.3);  // of tokens
  EXPECT_EQ(config.attention_probs_dropout_prob, 0.4);
  EXPECT_FALSE(config.is_decoder);  // BERT's keys mean nothing here
  EXPECT_EQ(config.type_vocab_size, 0);
  EXPECT_EQ(config.unknown_keys(),
            (std::vector<std::string>{"hidden_act", "is_decoder", "type_vocab_size"}));

  const Json saved = config.to_json();
  const Json expected = parse_json(text, "");
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(saved.at(key), value) << key;
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "hidden_dropout_prob", "layer_norm_eps",
                          "attention_probs_dropout_prob", "classifier_dropout", "use_cache"}) {
    EXPECT_FALSE(saved.contains(key)) << key;
  }
  EXPECT_EQ(EncoderConfig::from_json(saved, "again").to_json(), saved);
}

/// transformers takes the general names of three keys too; the own ones win.
TEST(DistilBertConfig, GeneralNamesAreRead) {
  const DistilBertConfig config =
      parse(R"({"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 4, "dim": 8})");
  EXPECT_EQ(config.hidden_size, 8);
  EXPECT_EQ(config.num_hidden_layers, 3);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_TRUE(config.unknown_keys().empty());
}

TEST(DistilBertConfig, RefusalsNameItsKeys) {
  expect_parts(refused(R"({"dim": 0})"), {"dir/config.json", "'dim' is 0"});
  expect_parts(refused(R"({"dim": 10, "n_heads": 4})"), {"'dim' is 10", "multiple of n_heads, 4"});
  expect_parts(refused(R"({"n_layers": "6"})"), {"'n_layers' is \"6\"", "a whole number"});
  expect_parts(refused(R"({"activation": "mish"})"), {"dir/config.json", "'activation'", "mish"});
  expect_parts(refused(R"({"attention_dropout": 2})"), {"'attention_dropout' is 2", "0 to 1"});
  expect_parts(refused(R"({"model_type": "bert"})"), {"'model_type' is bert", "one of distilbert"});
  DistilBertConfig typed;
  typed.type_vocab_size = 2;
  EXPECT_THROW(typed.validate(), ConfigError);
  DistilBertConfig small;
  small.hidden_size = small.intermediate_size = 12;
  for (const Json& value : {Json(1.5), Json("x")}) {
    small.extra = {{"qa_dropout", value}, {"seq_classif_dropout", value}};
    EXPECT_THROW((void)DistilBertForQuestionAnswering<float>(small), ConfigError);
    EXPECT_THROW((void)DistilBertForMultipleChoice<float>(small), ConfigError);
  }
}

TEST(DistilBertModel, FreshPositionsMayBeWaves) {
  DistilBertConfig config;
  config.vocab_size = 10;
  config.hidden_size = config.intermediate_size = 4;
  config.num_attention_heads = config.num_hidden_layers = 1;
  config.max_position_embeddings = 3;
  config.extra["sinusoidal_pos_embds"] = true;
  const DistilBertModel<double> model(config);
  EXPECT_FALSE(model.pooler().has_value());
  int tables = 0;
  for (const auto& named : named_parameters(model)) {
    if (named.name != "embeddings.position_embeddings.weight") continue;
    const auto table = named.value();
    for (Index position = 0; position < 3; ++position) {
      const auto at = static_cast<double>(position);
      EXPECT_DOUBLE_EQ(table(position, 0), std::sin(at));
      EXPECT_DOUBLE_EQ(table(position, 1), std::cos(at));
      EXPECT_DOUBLE_EQ(table(position, 2), std::sin(at / 100));
      EXPECT_DOUBLE_EQ(table(position, 3), std::cos(at / 100));
    }
    ++tables;
  }
  EXPECT_EQ(tables, 1);
}

/// Tokenizers of pairs give types, which transformers passes over.
TEST(DistilBertModel, TypesArePassedOver) {
  const Fixture fixture("distilbert/base");
  const auto model = DistilBertModel<double>::from_pretrained(fixture.folder);
  Context cx(1);
  Batch typed = fixture.batch;
  const std::vector<TokenId> types(typed.ids.size(), 1);
  typed.type_ids = types;
  EXPECT_TRUE(same_bits(model(cx, typed), model(cx, fixture.batch)));
}

TEST(DistilBertFiles, FamiliesAreNotMixedUp) {
  const std::string distilbert = fixture_folder("distilbert/masked_lm");
  const std::string bert = fixture_folder("bert/masked_lm");
  expect_parts(
      message_of<ConfigError>([&] { (void)BertForMaskedLM<float>::from_pretrained(distilbert); }),
      {distilbert, "'model_type' is distilbert", "one of bert"});
  expect_parts(
      message_of<ConfigError>([&] { (void)DistilBertForMaskedLM<float>::from_pretrained(bert); }),
      {bert, "'model_type' is bert", "one of distilbert"});
  const ChangedFixture changed("distilbert/masked_lm", [&](Json& config, StoredTensors&) {
    config["architectures"] = {"BertForMaskedLM"};
  });
  expect_parts(
      message_of<ConfigError>([&] { with_model<float>(changed.path(), {}, [](const auto&) {}); }),
      {changed.path(), "names BertForMaskedLM", "DistilBertModel", "DistilBertForMultipleChoice"});
}

/// A body alone gets a fresh head for fine-tuning, but never a pooler.
TEST(DistilBertFiles, HeadsAreMadeFresh) {
  const std::string folder = fixture_folder("distilbert/masked_lm");
  const LoadOptions options{.initialize_missing_head = true};
  EXPECT_FALSE(DistilBertModel<float>::from_pretrained(folder, options).pooler().has_value());
  const auto model = AutoModelForSequenceClassification<float>::from_pretrained(folder, options);
  EXPECT_EQ(model.load_report().missing,
            (std::vector<std::string>{"pre_classifier.weight", "pre_classifier.bias",
                                      "classifier.weight", "classifier.bias"}));
  EXPECT_THROW((void)AutoModelForSequenceClassification<float>::from_pretrained(folder),
               FormatError);
}

// ---- Other families ----

/// distilroberta-base is RoBERTa with 6 layers, under RoBERTa's names.
TEST(DistilRoberta, IsRoberta) {
  const auto config = EncoderConfig::from_json(
      parse_json(R"({"architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1,
          "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
          "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
          "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta",
          "num_attention_heads": 12, "num_hidden_layers": 6, "pad_token_id": 1,
          "type_vocab_size": 1, "vocab_size": 50265})",
                 "config.json"),
      "config.json");
  EXPECT_EQ(config.class_name("ForMaskedLM"), "RobertaForMaskedLM");
  EXPECT_EQ(config.num_hidden_layers, 6);
  EXPECT_EQ(config.max_tokens(), 512);
  EXPECT_TRUE(config.unknown_keys().empty());
  EXPECT_NO_THROW(config.require_base(RobertaModel<float>::base));
}

TEST(OtherFamilies, AreRefusedByName) {
  for (const std::string type : {"deberta", "deberta-v2", ""}) {
    const ChangedFixture changed(
        "bert/masked_lm", [&](Json& config, StoredTensors&) { config["model_type"] = type; });
    const std::string& path = changed.path();
    for (const std::string& message :
         {message_of<ConfigError>([&] { with_model<float>(path, {}, [](const auto&) {}); }),
          message_of<ConfigError>([&] { (void)AutoModel<float>::from_pretrained(path); }),
          message_of<ConfigError>(
              [&] { (void)AutoModelForMaskedLM<float>::from_pretrained(path); }),
          message_of<ConfigError>(
              [&] { (void)AutoModelForCausalLM<float>::from_pretrained(path); }),
          message_of<ConfigError>(
              [&] { (void)AutoModelForSequenceClassification<float>::from_pretrained(path); })}) {
      expect_parts(message,
                   {path + "/config.json", "'model_type' is " + type, "not supported",
                    "roberta, xlm-roberta, camembert, bert, distilbert, electra, albert, gpt2"});
    }
  }
}

}  // namespace distilbert_loading_test
