// RobertaConfig: class defaults, every key, refusals that name file, key and value, round trips.
#include "eigenformer/models/roberta_config.hpp"

#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "../messages.hpp"

namespace eigenformer::roberta_config_test {
RobertaConfig parse(const std::string& text) {
  return RobertaConfig::from_json(parse_json(text, "dir/config.json"), "dir/config.json");
}

/// The message of the ConfigError that reading `text` throws.
std::string refusal(const std::string& text) {
  return tests::message_of<ConfigError>([&] { (void)parse(text); });
}

void expect_refusal(const std::string& key, const std::string& value,
                    const std::string& allowed = "") {
  const std::string message = refusal("{\"" + key + "\": " + value + "}");
  EXPECT_NE(message.find("dir/config.json"), std::string::npos) << key << " " << value;
  EXPECT_NE(message.find(key), std::string::npos) << key << " " << value << ": " << message;
  EXPECT_NE(message.find(allowed), std::string::npos) << key << " " << value << ": " << message;
}

TEST(RobertaConfig, DefaultsAreTheClassesNotRobertaBases) {
  const RobertaConfig config = parse("{}");
  EXPECT_EQ(config.vocab_size, 50265);
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.num_hidden_layers, 12);
  EXPECT_EQ(config.num_attention_heads, 12);
  EXPECT_EQ(config.intermediate_size, 3072);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(config.type_vocab_size, 2);
  EXPECT_EQ(config.layer_norm_eps, 1e-12);
  EXPECT_EQ(config.initializer_range, 0.02);
  EXPECT_EQ(config.hidden_dropout_prob, 0.1);
  EXPECT_EQ(config.attention_probs_dropout_prob, 0.1);
  EXPECT_EQ(config.hidden_act, Activation::gelu);
  EXPECT_EQ(config.padding_id(), 1);
  EXPECT_EQ(config.bos_token_id, 0);
  EXPECT_EQ(config.eos_token_id, std::vector<TokenId>{2});
  EXPECT_EQ(config.num_labels, 2);
  EXPECT_EQ(config.label(1), "LABEL_1");
  EXPECT_EQ(config.max_tokens(), 510);
  EXPECT_EQ(config.classifier_dropout_prob(), 0.1);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.classifier_dropout.has_value());
  EXPECT_FALSE(config.dtype.has_value());
  EXPECT_TRUE(config.unknown_keys().empty());
}

TEST(RobertaConfig, ReadsThePublishedFile) {
  const RobertaConfig config = parse(R"({"architectures": ["RobertaForMaskedLM"],
    "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
    "intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 514,
    "model_type": "roberta", "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 1, "type_vocab_size": 1, "vocab_size": 50265})");
  EXPECT_EQ(config.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.max_tokens(), 512);
  EXPECT_EQ(config.type_vocab_size, 1);
  EXPECT_EQ(config.head_size(), 64);
  EXPECT_EQ(config.architectures, std::vector<std::string>{"RobertaForMaskedLM"});
}

TEST(RobertaConfig, SiblingsShareTheArchitecture) {
  EXPECT_EQ(parse(R"({"model_type": "xlm-roberta"})").vocab_size, 30522);
  EXPECT_EQ(parse(R"({"model_type": "camembert"})").vocab_size, 30522);
  EXPECT_EQ(parse(R"({"model_type": "xlm-roberta", "vocab_size": 250002})").vocab_size, 250002);
  EXPECT_EQ(parse(R"({"model_type": "xlm-roberta"})").class_name("Model"), "XLMRobertaModel");
  EXPECT_EQ(parse(R"({"model_type": "camembert"})").class_name("Model"), "CamembertModel");
  EXPECT_EQ(parse("{}").class_name("ForMaskedLM"), "RobertaForMaskedLM");
  expect_refusal("model_type", "\"deberta-v2\"", "xlm-roberta");
  expect_refusal("model_type", "\"roberta-prelayernorm\"");
  expect_refusal("model_type", "\"\"");
  expect_refusal("model_type", "5", "string");
}

TEST(RobertaConfig, WholeNumbersAreNothingElse) {
  for (const std::string key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "type_vocab_size"}) {
    for (const std::string value : {"\"10\"", "10.0", "10.5", "true", "null", "[10]", "{}", "-1",
                                    "1e3", "9223372036854775807", "9223372036854775808",
                                    "18446744073709551615", "18446744073709551616"}) {
      expect_refusal(key, value, value.size() < 10 && value != "1e3" ? value : "");
    }
  }
  for (const std::string key :
       {"vocab_size", "hidden_size", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size"}) {
    expect_refusal(key, "0", "from 1");
  }
  EXPECT_EQ(parse(R"({"num_hidden_layers": 0})").num_hidden_layers, 0);  // as HF
  expect_refusal("chunk_size_feed_forward", "-2");
  expect_refusal("hidden_size", "4294967296", "from 1 to 1048576");
}

TEST(RobertaConfig, RealNumbersAreFiniteAndInRange) {
  for (const std::string key : {"layer_norm_eps", "initializer_range", "hidden_dropout_prob",
                                "attention_probs_dropout_prob", "classifier_dropout"}) {
    for (const std::string value : {"\"0.1\"", "true", "[0.1]", "-0.1"}) {
      expect_refusal(key, value);
    }
    for (const double value : {std::nan(""), std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity()}) {
      Json json = Json::object();
      json[key] = value;
      EXPECT_THROW((void)RobertaConfig::from_json(json, "x"), ConfigError) << key;
    }
    EXPECT_THROW((void)parse("{\"" + key + "\": 1e999}"), FormatError);
    EXPECT_THROW((void)parse("{\"" + key + "\": NaN}"), FormatError);
    EXPECT_NO_THROW((void)parse("{\"" + key + "\": 0}"));
  }
  for (const std::string key : {"layer_norm_eps", "initializer_range", "hidden_dropout_prob"}) {
    expect_refusal(key, "null");
  }
  expect_refusal("hidden_dropout_prob", "1.5", "from 0 to 1");
  EXPECT_EQ(parse(R"({"layer_norm_eps": 1})").layer_norm_eps, 1.0);
  EXPECT_EQ(parse(R"({"classifier_dropout": 0.3})").classifier_dropout_prob(), 0.3);
  EXPECT_FALSE(parse(R"({"classifier_dropout": null})").classifier_dropout.has_value());
}

TEST(RobertaConfig, BooleansAreNothingElse) {
  for (const std::string key :
       {"is_decoder", "add_cross_attention", "use_cache", "tie_word_embeddings",
        "is_encoder_decoder", "output_hidden_states", "output_attentions", "return_dict"}) {
    for (const std::string value : {"1", "\"true\"", "[]"}) expect_refusal(key, value, "true");
  }
  expect_refusal("tie_word_embeddings", "null");
  EXPECT_FALSE(parse(R"({"tie_word_embeddings": false})").tie_word_embeddings);
  EXPECT_TRUE(parse(R"({"return_dict": null})").return_dict);
}

TEST(RobertaConfig, UnsupportedArchitecturesAreRefusedByName) {
  expect_refusal("position_embedding_type", "\"relative_key\"", "absolute");
  expect_refusal("position_embedding_type", "\"relative_key_query\"", "absolute");
  expect_refusal("position_embedding_type", "5", "string");
  expect_refusal("add_cross_attention", "true", "not supported");
  expect_refusal("hidden_act", "\"mish\"", "mish");
  expect_refusal("hidden_act", "null", "string");
  const std::string uneven = refusal(R"({"hidden_size": 770})");
  EXPECT_NE(uneven.find("'hidden_size' is 770"), std::string::npos) << uneven;
  EXPECT_NE(uneven.find("num_attention_heads, 12"), std::string::npos) << uneven;
}

TEST(RobertaConfig, ActivationsKeepTheirNames) {
  for (const std::string name : {"gelu", "gelu_python", "gelu_new", "gelu_fast",
                                 "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh", "linear"}) {
    const RobertaConfig config = parse("{\"hidden_act\": \"" + name + "\"}");
    EXPECT_EQ(config.hidden_act, activation_from_name(name));
    EXPECT_EQ(config.to_json()["hidden_act"], name);
  }
  RobertaConfig changed;
  changed.hidden_act = Activation::silu;
  EXPECT_EQ(changed.to_json()["hidden_act"], "silu");
}

TEST(RobertaConfig, PaddingIds) {
  const RobertaConfig none = parse(R"({"pad_token_id": null})");  // a failure only when it is used
  EXPECT_FALSE(none.pad_token_id.has_value());
  EXPECT_THROW((void)none.padding_id(), ConfigError);
  EXPECT_THROW((void)none.max_tokens(), ConfigError);
  EXPECT_EQ(parse(R"({"pad_token_id": 0})").max_tokens(), 511);
  EXPECT_EQ(parse(R"({"pad_token_id": 510})").max_tokens(), 1);
  expect_refusal("pad_token_id", "511", "positions");
  expect_refusal("pad_token_id", "-1", "vocab_size");
  expect_refusal("pad_token_id", "50265", "vocab_size");
  expect_refusal("pad_token_id", "1.0", "or null");
  expect_refusal("pad_token_id", "4294967297", "or null");
  expect_refusal("pad_token_id", "[1]");
  expect_refusal("bos_token_id", "\"<s>\"");
  expect_refusal("eos_token_id", "\"</s>\"", "a list");
  expect_refusal("eos_token_id", "[2, 2.5]");
  EXPECT_EQ(parse(R"({"eos_token_id": [2, 3]})").eos_token_id, (std::vector<TokenId>{2, 3}));
  EXPECT_TRUE(parse(R"({"eos_token_id": null})").eos_token_id.empty());
}

TEST(RobertaConfig, Labels) {
  const RobertaConfig named = parse(R"({"id2label": {"0": "no", "1": "maybe", "2": "yes"}})");
  EXPECT_EQ(named.num_labels, 3);
  EXPECT_EQ(named.label(2), "yes");
  EXPECT_EQ(named.to_json()["label2id"]["yes"], 2);
  EXPECT_EQ(parse(R"({"num_labels": 5})").num_labels, 5);
  EXPECT_EQ(parse(R"({"num_labels": 5})").to_json()["id2label"]["4"], "LABEL_4");
  const RobertaConfig stated = parse(R"({"num_labels": 3, "id2label": {"0": "a"}})");
  EXPECT_EQ(stated.num_labels, 3);  // as HF
  EXPECT_EQ(stated.label(0), "LABEL_0");
  EXPECT_EQ(parse(R"({"id2label": {"0": "a"}, "label2id": {"a": "0"}})").label2id.at("a"), 0);
  EXPECT_FALSE(parse("{}").to_json().contains("id2label"));
  expect_refusal("id2label", "[\"a\"]", "object");
  expect_refusal("id2label", R"({"x": "a"})", "label numbers");
  expect_refusal("id2label", R"({"-1": "a"})", "label numbers");
  expect_refusal("id2label", R"({"0": 1})", "strings");
  expect_refusal("id2label", R"({"0": "a", "00": "b"})", "two names");
  expect_refusal("num_labels", "-1");
  expect_refusal("num_labels", "\"2\"");
  expect_refusal("num_labels", "999999999999");
  expect_refusal("problem_type", "\"ranking\"", "regression");
  EXPECT_FALSE(
      refusal(R"({"num_labels": 1, "problem_type": "single_label_classification"})").empty());
  EXPECT_EQ(parse(R"({"num_labels": 1, "problem_type": "regression"})").num_labels, 1);
}

TEST(RobertaConfig, DtypeUnderBothNames) {
  EXPECT_EQ(parse(R"({"torch_dtype": "float16"})").dtype, "float16");
  const RobertaConfig both = parse(R"({"torch_dtype": "float16", "dtype": "bfloat16"})");
  EXPECT_EQ(both.dtype, "bfloat16");
  EXPECT_FALSE(both.to_json().contains("torch_dtype"));
  expect_refusal("dtype", "5", "string");
}

TEST(RobertaConfig, OtherTypes) {
  expect_refusal("architectures", "\"RobertaModel\"", "list");
  expect_refusal("architectures", "[1]", "list");
  expect_refusal("transformers_version", "5", "string");
  EXPECT_NE(refusal("[1]").find("JSON object"), std::string::npos);
  EXPECT_NE(refusal("null").find("JSON object"), std::string::npos);
  const std::string longer = refusal("{\"hidden_act\": [" + std::string(5000, ' ') + "\"" +
                                     std::string(5000, 'x') + "\"]}");
  EXPECT_LT(longer.size(), 300u);
}

TEST(RobertaConfig, UnknownKeysAreKeptAndListed) {
  const std::string text =
      R"({"_name_or_path": "x", "model_type": "roberta", "gradient": {"a": [1]},
    "finetuning_task": null, "num_attention_heads": 4})";
  const RobertaConfig config = parse(text);
  EXPECT_EQ(config.unknown_keys(),
            (std::vector<std::string>{"_name_or_path", "finetuning_task", "gradient"}));
  const Json written = config.to_json();
  EXPECT_EQ(written["gradient"], parse_json(R"({"a": [1]})", ""));
  EXPECT_TRUE(written["finetuning_task"].is_null());
}

TEST(RobertaConfig, RoundTrips) {
  const RobertaConfig config = parse(R"({"model_type": "camembert", "architectures": ["A", "B"],
    "vocab_size": 41, "hidden_size": 15, "num_hidden_layers": 3, "num_attention_heads": 3,
    "intermediate_size": 9, "hidden_act": "gelu_new", "max_position_embeddings": 20,
    "type_vocab_size": 3, "layer_norm_eps": 3e-7, "initializer_range": 0.5,
    "hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0, "classifier_dropout": 0.5,
    "pad_token_id": 2, "bos_token_id": null, "eos_token_id": [4, 5], "tie_word_embeddings": false,
    "is_encoder_decoder": true, "use_cache": false, "output_hidden_states": true,
    "output_attentions": true, "return_dict": false, "chunk_size_feed_forward": 2,
    "id2label": {"0": "z", "1": "a", "2": "m"}, "label2id": {"z": 0, "a": 1, "m": 2},
    "problem_type": "multi_label_classification", "torch_dtype": "float64",
    "transformers_version": "4.1", "more": [true]})");
  const Json once = config.to_json();
  const RobertaConfig again = RobertaConfig::from_json(once, "again");
  EXPECT_EQ(again.to_json(), once);
  EXPECT_EQ(again.model_type, "camembert");
  EXPECT_EQ(again.layer_norm_eps, 3e-7);
  EXPECT_EQ(again.eos_token_id, (std::vector<TokenId>{4, 5}));
  EXPECT_EQ(again.label(2), "m");
  EXPECT_EQ(again.dtype, "float64");
  EXPECT_EQ(again.extra, parse_json(R"({"more": [true]})", ""));
  EXPECT_FALSE(again.tie_word_embeddings);
  EXPECT_EQ(parse("{}").to_json(), RobertaConfig{}.to_json());
}

TEST(RobertaConfig, MadeInCode) {
  const RobertaConfig small{.vocab_size = 40, .hidden_size = 12, .num_attention_heads = 3};
  EXPECT_NO_THROW(small.validate());
  const RobertaConfig uneven{.hidden_size = 13, .num_attention_heads = 3};
  EXPECT_THROW(uneven.validate(), ConfigError);
  RobertaConfig labels;
  labels.id2label = {{0, "a"}};
  EXPECT_THROW(labels.validate(), ConfigError);
}

TEST(RobertaConfig, FromPretrainedNamesThePath) {
  EXPECT_TRUE(tests::contains(
      tests::message_of<IoError>([] { (void)RobertaConfig::from_pretrained("no/such/folder"); }),
      "no/such/folder/config.json"));
}

}  // namespace eigenformer::roberta_config_test
