// BERT's configuration and files: class defaults, folders of the other family and of SpanBERT, and
// which class a folder asks for.
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace bert_loading_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

BertConfig parse(const std::string& text) {
  return BertConfig::from_json(parse_json(text, "dir/config.json"), "dir/config.json");
}

// ---- The configuration ----

TEST(BertConfig, DefaultsAreTheClasses) {
  const BertConfig made;
  const BertConfig read = parse("{}");
  for (const BertConfig& config : {made, read}) {
    EXPECT_EQ(config.model_type, "bert");
    EXPECT_EQ(config.vocab_size, 30522);
    EXPECT_EQ(config.hidden_size, 768);
    EXPECT_EQ(config.max_position_embeddings, 512);
    EXPECT_EQ(config.type_vocab_size, 2);
    EXPECT_EQ(config.layer_norm_eps, 1e-12);
    EXPECT_EQ(config.pad_token_id, 0);
    EXPECT_FALSE(config.bos_token_id.has_value());
    EXPECT_TRUE(config.eos_token_id.empty());
    EXPECT_EQ(config.max_tokens(), 512);
    EXPECT_EQ(config.class_name("ForMaskedLM"), "BertForMaskedLM");
  }
  EXPECT_EQ(made.to_json(), read.to_json());
  EXPECT_EQ(RobertaConfig::from_json(made.to_json(), "x").to_json(), made.to_json());
}

TEST(BertConfig, PositionsDoNotDependOnPadding) {
  EXPECT_EQ(parse(R"({"pad_token_id": null})").max_tokens(), 512);
  EXPECT_EQ(parse(R"({"pad_token_id": 511})").max_tokens(), 512);
  EXPECT_EQ(parse(R"({"pad_token_id": 5, "max_position_embeddings": 3})").max_tokens(), 3);
  expect_parts(message_of<ConfigError>([] { (void)parse(R"({"pad_token_id": 30522})"); }),
               {"dir/config.json", "pad_token_id", "vocab_size"});
}

TEST(BertConfig, TheFamilyComesFromTypeOrClass) {
  const auto type = [](const std::string& text) {
    return EncoderConfig::from_json(parse_json(text, ""), "").model_type;
  };
  EXPECT_EQ(type("{}"), "roberta");
  EXPECT_EQ(type(R"({"architectures": ["BertForMaskedLM"]})"), "bert");
  EXPECT_EQ(type(R"({"architectures": ["CamembertModel"]})"), "camembert");
  EXPECT_EQ(type(R"({"architectures": ["BertModel"], "model_type": "roberta"})"), "roberta");
  const auto refused = [](const std::string& text) {
    return message_of<ConfigError>([&] { (void)parse(text); });
  };
  expect_parts(refused(R"({"model_type": "albert"})"), {"dir/config.json", "albert", "bert"});
  expect_parts(refused(R"({"model_type": "roberta"})"), {"'model_type' is roberta", "one of bert"});
}

// ---- Files ----

/// bert-base-uncased as published asks for a masked language model, and holds the other head too.
TEST(BertFiles, OtherHeadsAreReported) {
  const ChangedFixture changed("bert/pretraining_old", [](Json& config, StoredTensors&) {
    config["architectures"] = {"BertForMaskedLM"};
  });
  bool masked_lm = false;
  with_model<float>(changed.path(), {}, [&]<class Model>(const Model& model) {
    masked_lm = std::is_same_v<Model, BertForMaskedLM<float>>;
    EXPECT_EQ(model.load_report().unexpected,
              (std::vector<std::string>{"cls.seq_relationship.bias", "cls.seq_relationship.weight",
                                        "bert.pooler.dense.bias", "bert.pooler.dense.weight"}));
  });
  EXPECT_TRUE(masked_lm);
  const auto encoder = BertModel<float>::from_pretrained(changed.path());
  EXPECT_TRUE(encoder.pooler().has_value());
}

/// SpanBERT's folders name neither a class nor, in the first release, a type.
TEST(BertFiles, SpanBertIsBert) {
  const ChangedFixture typed("bert/base", [](Json& config, StoredTensors&) {
    config.erase("architectures");
    config["directionality"] = "bidi";
  });
  with_model_class<float>(typed.path(), []<class Model>(std::type_identity<Model>, const auto&) {
    EXPECT_TRUE((std::is_same_v<Model, BertModel<float>>));
  });
  const ChangedFixture untyped("bert/base", [](Json& config, StoredTensors&) {
    config.erase("architectures");
    config.erase("model_type");
  });
  const Fixture fixture("bert/base");
  Context cx(1);
  const auto expected = BertModel<float>::from_pretrained(fixture.folder)(cx, fixture.batch);
  EXPECT_TRUE(
      same_bits(BertModel<float>::from_pretrained(untyped.path())(cx, fixture.batch), expected));
}

TEST(BertFiles, FamiliesAreNotMixedUp) {
  const std::string bert = fixture_folder("bert/masked_lm");
  const std::string roberta = fixture_folder("mlm_gelu");
  expect_parts(message_of<ConfigError>([&] { (void)BertModel<float>::from_pretrained(roberta); }),
               {roberta, "'model_type' is roberta", "one of bert"});
  expect_parts(
      message_of<ConfigError>([&] { (void)BertForMaskedLM<float>::from_pretrained(roberta); }),
      {roberta, "'model_type' is roberta", "one of bert"});
  expect_parts(
      message_of<ConfigError>([&] { (void)RobertaForMaskedLM<float>::from_pretrained(bert); }),
      {bert, "'model_type' is bert", "roberta, xlm-roberta, camembert"});
  EXPECT_THROW((void)BertModel<float>(RobertaConfig()), ConfigError);
  for (const std::string architecture : {"RobertaForMaskedLM", "BertForFoo", "BertForCausalLM"}) {
    const ChangedFixture changed("bert/masked_lm", [&](Json& config, StoredTensors&) {
      config["architectures"] = {architecture};
    });
    expect_parts(
        message_of<ConfigError>([&] { with_model<float>(changed.path(), {}, [](const auto&) {}); }),
        {changed.path(), architecture, "BertModel", "BertForPreTraining", "BertLMHeadModel",
         "BertForNextSentencePrediction"});
  }
}

TEST(BertInputs, AreChecked) {
  const Fixture fixture("bert/full_length");  // 41 words, 12 positions, 2 types
  const auto model = BertModel<double>::from_pretrained(fixture.folder);
  Context cx(1);
  const auto run = [&](const std::vector<TokenId>& ids, const std::vector<TokenId>& types = {}) {
    Batch batch;
    batch.add(ids, types);
    return model(cx, batch);
  };
  EXPECT_EQ(run(std::vector<TokenId>(12, 0)).size(0), 12);
  expect_parts(message_of<ShapeError>([&] { (void)run(std::vector<TokenId>(13, 5)); }),
               {"13", "12"});
  EXPECT_EQ(run({0, 5, 2}, {0, 1, 0}).shape(), Shape({3, 6}));
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 41, 2}); }), {"41"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 5, 2}, {0, 2, 0}); }), {"2"});
  EXPECT_EQ(model(cx, Batch()).shape(), Shape({0, 6}));
}

// ---- Any family ----

TEST(AutoModelOf, IsTheFamilyOfTheFolder) {
  Context cx(1);
  const Fixture bert("bert/masked_lm");
  const Fixture roberta("mlm_gelu");
  const auto any_bert = AutoModelForMaskedLM<float>::from_pretrained(bert.folder);
  const auto any_roberta = AutoModelForMaskedLM<float>::from_pretrained(roberta.folder);
  EXPECT_EQ(any_bert.config().model_type, "bert");
  EXPECT_EQ(any_roberta.config().model_type, "roberta");
  EXPECT_TRUE(same_bits(any_bert(cx, bert.batch),
                        BertForMaskedLM<float>::from_pretrained(bert.folder)(cx, bert.batch)));
  EXPECT_TRUE(same_bits(any_roberta(cx, roberta.batch), RobertaForMaskedLM<float>::from_pretrained(
                                                            roberta.folder)(cx, roberta.batch)));
  const AutoModelForMaskedLM<float> fresh(any_bert.config());
  EXPECT_TRUE(std::holds_alternative<BertForMaskedLM<float>>(fresh.model()));
}

}  // namespace bert_loading_test
