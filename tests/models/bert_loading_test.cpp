// BERT's configuration and files: class defaults, old names, what is missing, folders of the other
// family and of SpanBERT, saving and packing, and which class a folder asks for.
#include <algorithm>
#include <optional>
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

std::vector<std::string> sorted_names(const std::string& folder) {
  std::vector<std::string> names = Checkpoint::open(folder).names();
  std::sort(names.begin(), names.end());
  return names;
}

/// All that a model computes, one after the other.
std::vector<Tensor<float>> parts(const Tensor<float>& output) { return {output}; }
std::vector<Tensor<float>> parts(const QuestionAnsweringOutput<float>& output) {
  return {output.start_logits, output.end_logits};
}
std::vector<Tensor<float>> parts(const BertForPreTrainingOutput<float>& output) {
  return {output.prediction_logits, output.seq_relationship_logits};
}
template <class Output>
void expect_same(const Output& got, const Output& expected) {
  const auto found = parts(got);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(same_bits(found[i], parts(expected)[i]));
  }
}

/// Those whose files have other names than transformers saves.
bool is_old(const std::string& name) {
  return name == "bert/no_prefix" || name == "bert/pretraining_old" ||
         name == "bert/masked_lm_holes_relu";
}

TEST(BertFiles, AreSavedAsTransformersSavesThem) {
  Context cx(1);
  for (const std::string& name : fixture_names("bert/")) {
    SCOPED_TRACE(name);
    const Fixture fixture(name);
    with_model<float>(fixture.folder, {}, [&]<class Model>(const Model& model) {
      const TemporaryFolder folder;
      model.save_pretrained(folder.path());
      if (!is_old(name)) {
        EXPECT_EQ(sorted_names(folder.path()), sorted_names(fixture.folder));
      }
      const BertConfig config = BertConfig::from_pretrained(folder.path());
      EXPECT_EQ(config.architectures, std::vector{fixture.note("class")});
      EXPECT_EQ(config.pad_token_id, model.config().pad_token_id);
      if constexpr (requires { model.config().id2label; }) {
        EXPECT_EQ(config.id2label, model.config().id2label);
      }
      const Model again = Model::from_pretrained(folder.path());
      EXPECT_TRUE(again.load_report().unexpected.empty());
      expect_same(again(cx, fixture.batch), model(cx, fixture.batch));
    });
  }
}

TEST(BertFiles, PackedGiveTheSameBits) {
  Context cx(1);
  for (const std::string& name : fixture_names("bert/")) {
    const Fixture fixture(name);
    for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
      SCOPED_TRACE(concat(name, " ", name_of(precision)));
      const LoadOptions options{.precision = precision, .pack = true};
      with_model<float>(fixture.folder, options, [&]<class Model>(const Model& model) {
        const TemporaryFolder folder;
        const std::string path = folder / "model.packed";
        model.save_packed(path);
        const Model opened = Model::from_pretrained(path);
        expect_same(opened(cx, fixture.batch), model(cx, fixture.batch));
        const auto encoder = BertModel<float>::from_pretrained(path);
        EXPECT_EQ(encoder.pooler().has_value(), fixture.has("pooler_output"));
      });
    }
  }
}

/// Every tensor of the file, left out on its own, is missed by name.
TEST(BertFiles, EveryTensorIsNeeded) {
  for (const std::string name : {"bert/pretraining", "bert/next_sentence", "bert/sequence",
                                 "bert/masked_lm_untied", "bert/choice"}) {
    for (const std::string& tensor : Checkpoint::open(fixture_folder(name)).names()) {
      if (name == "bert/masked_lm_untied" && tensor == "cls.predictions.bias") continue;
      const ChangedFixture changed(name,
                                   [&](Json&, StoredTensors& tensors) { tensors.erase(tensor); });
      expect_parts(message_of<FormatError>(
                       [&] { with_model<float>(changed.path(), {}, [](const auto&) {}); }),
                   {changed.path(), "missing", tensor});
    }
  }
}

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

/// Classifiers of texts, tokens and choices drop by classifier_dropout, else by
/// hidden_dropout_prob.
template <class Model>
bool drops(const std::string& name, double hidden, std::optional<double> classifier) {
  const Fixture fixture(name);
  EncoderConfig config = EncoderConfig::from_pretrained(fixture.folder);
  config.num_hidden_layers = 0;
  config.hidden_dropout_prob = hidden;
  config.classifier_dropout = classifier;
  const Model model(config);
  Context cx(1);
  const Tensor<double> states = model.bert()(cx, fixture.batch);
  const auto before = model.outputs(cx, fixture.batch, states);
  DropoutGenerator generator(1);
  cx.dropout = &generator;
  return !same_bits(before, model.outputs(cx, fixture.batch, states));
}

TEST(BertHeads, DropoutFollowsTheConfiguration) {
  const auto check = [](const auto& dropped) {
    EXPECT_TRUE(dropped(0, 0.5));
    EXPECT_TRUE(dropped(0.5, std::nullopt));
    EXPECT_FALSE(dropped(0.5, 0));
  };
  using Dropout = std::optional<double>;
  check([](double hidden, Dropout classifier) {
    return drops<BertForSequenceClassification<double>>("bert/sequence", hidden, classifier);
  });
  check([](double hidden, Dropout classifier) {
    return drops<BertForMultipleChoice<double>>("bert/choice", hidden, classifier);
  });
  check([](double hidden, Dropout classifier) {
    return drops<BertForTokenClassification<double>>("bert/token", hidden, classifier);
  });
  EXPECT_FALSE(drops<BertForNextSentencePrediction<double>>("bert/next_sentence", 0.5, 0.5));
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
