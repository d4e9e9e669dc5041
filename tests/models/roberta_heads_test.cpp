// RoBERTa's heads: what losses and batches must be, dropout, what loading does with a head that is
// missing or has other labels; and which class a folder asks for.
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace eigenformer::roberta_heads_test {
using testing_models::ChangedFixture;
using testing_models::difference;
using testing_models::Fixture;
using testing_models::fixture_folder;
using testing_models::fixture_names;
using testing_models::named;
using testing_models::same_bits;
using testing_models::StoredTensors;
using testing_models::TemporaryFolder;
using tests::expect_parts;
using tests::message_of;

/// The fixture's model as another configuration has it.
template <class Model>
Model with_config(const std::string& name, const std::function<void(RobertaConfig&)>& change) {
  const std::string folder = fixture_folder(name);
  RobertaConfig config = RobertaConfig::from_pretrained(folder);
  change(config);
  return Model::from_pretrained(folder, config, {});
}

TEST(RobertaHeads, LossesAskForTheirKindOfLabel) {
  using Model = RobertaForSequenceClassification<double>;
  Context cx(1);
  const std::vector<TokenId> labels = {0, 0, 0};
  const Tensor<double> numbers = Tensor<double>::zeros({3, 3});
  const Fixture fixture("sequence_single_label");
  const auto typed = [](const std::string& type) {
    return with_config<Model>("sequence_single_label",
                              [&](RobertaConfig& config) { config.problem_type = type; });
  };
  const Model guesses = Model::from_pretrained(fixture.folder);
  const Tensor<double> logits = guesses(cx, fixture.batch);
  EXPECT_TRUE(same_bits(guesses.loss(cx, logits, labels), cross_entropy(cx, logits, labels)));
  EXPECT_TRUE(
      same_bits(guesses.loss(cx, logits, numbers), binary_cross_entropy(cx, logits, numbers)));
  EXPECT_TRUE(same_bits(typed("regression").loss(cx, logits, numbers),
                        mean_squared_error(cx, logits, numbers)));
  for (const char* type : {"regression", "multi_label_classification"}) {
    expect_parts(message_of<ConfigError>([&] { (void)typed(type).loss(cx, logits, labels); }),
                 {"problem_type", type});
  }
  expect_parts(message_of<ConfigError>(
                   [&] { (void)typed("single_label_classification").loss(cx, logits, numbers); }),
               {"problem_type", "single_label_classification"});
  const Model regression = Model::from_pretrained(fixture_folder("sequence_regression"));
  EXPECT_THROW((void)regression.loss(cx, Tensor<double>::zeros({3, 1}), labels), ConfigError);
  EXPECT_THROW((void)regression.loss(cx, Tensor<double>::zeros({3, 1}), numbers), ShapeError);
}

TEST(RobertaHeads, LossesCheckTheirSizes) {
  Context cx(1);
  const Fixture fixture("question_padded");  // texts of 5, 3 and 1 tokens
  const auto answering = RobertaForQuestionAnswering<double>::from_pretrained(fixture.folder);
  const auto output = answering(cx, fixture.batch);
  const auto loss = [&](const std::vector<TokenId>& starts) {
    return answering.loss(cx, output, fixture.batch, starts, {{0, 0, 0}}).item();
  };
  EXPECT_EQ(loss({4, -3, 7}), loss({4, 0, 1}));  // below 0 is 0, beyond its own text nothing
  EXPECT_NE(loss({4, 0, 0}), loss({4, 0, 1}));
  expect_parts(message_of<ShapeError>([&] { (void)loss({5, 3, 1}); }), {"3 positions", "beyond"});
  expect_parts(message_of<ShapeError>([&] { (void)loss({0, 0}); }), {"2 positions for 3 texts"});

  const Fixture text("causal");
  const auto causal = RobertaForCausalLM<double>::from_pretrained(text.folder);
  const Tensor<double> logits = causal(cx, text.batch);
  EXPECT_THROW((void)causal.loss(cx, logits, text.batch, {{1, 2}}), ShapeError);
  Batch gap;  // an empty text has no next token
  gap.add({});
  gap.add(std::vector<TokenId>{0, 5, 2});
  gap.add({});
  EXPECT_GT(causal.loss(cx, causal(cx, gap), gap, gap.ids).item(), 0);
}

TEST(RobertaHeads, BatchesAreChecked) {
  Context cx(1);
  const Fixture fixture("multiple_choice");  // 6 texts
  const auto model = RobertaForMultipleChoice<float>::from_pretrained(fixture.folder);
  for (const Index choices : {0, 4, -1}) {
    expect_parts(message_of<ShapeError>([&] { (void)model(cx, fixture.batch, choices); }),
                 {"6 texts", std::to_string(choices) + " choices"});
  }
  EXPECT_EQ(model(cx, Batch(), 3).shape(), Shape({0, 3}));
  Batch gap;
  gap.add(std::vector<TokenId>{0, 2});
  gap.add({});
  expect_parts(message_of<ShapeError>([&] { (void)model(cx, gap, 2); }), {"text 1"});
  Batch broken = fixture.batch;
  broken.offsets.clear();
  EXPECT_THROW((void)model(cx, broken), ShapeError);
}

/// Classifiers drop by classifier_dropout, else by hidden_dropout_prob; RoBERTa's multiple choice
/// by the latter.
TEST(Heads, DropoutFollowsTheConfiguration) {
  const auto drops = [](const std::string& name, double hidden, std::optional<double> classifier) {
    const Fixture fixture(name);
    EncoderConfig config = EncoderConfig::from_pretrained(fixture.folder);
    config.num_hidden_layers = 0;  // leaves the embeddings' dropout, of the hidden states
    config.hidden_dropout_prob = hidden;
    config.classifier_dropout = classifier;
    bool dropped = false;
    with_model_class<double>(fixture.folder, [&]<class Model>(std::type_identity<Model>, auto&&) {
      if constexpr (requires(const Model& model) { model.base_model(), Model(config); }) {
        const Model model(config);
        Context cx(1);
        const Tensor<double> states = model.base_model()(cx, fixture.batch);
        const auto outputs = [&] { return named(model.outputs(cx, fixture.batch, states)); };
        const auto before = outputs();
        DropoutGenerator generator(1);
        cx.dropout = &generator;
        dropped = !same_bits(before.begin()->second, outputs().begin()->second);
      }
    });
    return dropped;
  };
  for (const char* name :
       {"sequence_single_label", "token_holes", "bert/sequence", "bert/token", "bert/choice"}) {
    EXPECT_TRUE(drops(name, 0, 0.5)) << name;
    EXPECT_TRUE(drops(name, 0.5, {})) << name;
    EXPECT_FALSE(drops(name, 0.5, 0)) << name;
  }
  EXPECT_TRUE(drops("multiple_choice", 0.5, 0));
  EXPECT_FALSE(drops("multiple_choice", 0, 0.5));
  for (const char* name : {"question_answering", "bert/next_sentence", "bert/question"}) {
    EXPECT_FALSE(drops(name, 0.5, 0.5)) << name;
  }
}

// ---- Files ----

TEST(RobertaHeadFiles, LabelsMustFitTheTensors) {
  struct Change {
    std::string fixture;
    Index labels;
    std::vector<std::string> parts;
  };
  const std::vector<Change> changes = {
      {"sequence_single_label",
       4,
       {"classifier.out_proj.weight is [3, 8]", "[4, 8]", "classifier.out_proj.bias"}},
      {"token_holes", 4, {"classifier.weight is [5, 8]", "[4, 8]", "classifier.bias is [5]"}},
      {"token_holes", 0, {"'num_labels' is 0"}},
      {"sequence_regression", 0, {"'num_labels' is 0"}},
      {"question_answering", 3, {"'num_labels' is 3", "2"}},
  };
  for (const Change& change : changes) {
    const ChangedFixture changed(change.fixture, [&](Json& config, StoredTensors&) {
      config.erase("id2label");
      config.erase("label2id");
      config["num_labels"] = change.labels;
    });
    expect_parts(
        message_of<Error>([&] { with_model<double>(changed.path(), {}, [](const auto&) {}); }),
        change.parts);
  }
  const ChangedFixture narrow("multiple_choice", [](Json&, StoredTensors& tensors) {
    tensors["classifier.weight"] = tensors.at("roberta.pooler.dense.weight");
  });
  expect_parts(
      message_of<FormatError>([&] { with_model<double>(narrow.path(), {}, [](const auto&) {}); }),
      {"classifier.weight is [8, 8]", "[1, 8]"});
}

TEST(RobertaHeadFiles, CrossAttentionIsRefusedByName) {
  const ChangedFixture configured(
      "causal", [](Json& config, StoredTensors&) { config["add_cross_attention"] = true; });
  expect_parts(message_of<ConfigError>(
                   [&] { (void)RobertaForCausalLM<float>::from_pretrained(configured.path()); }),
               {"'add_cross_attention' is true"});
  const std::string name = "roberta.encoder.layer.0.crossattention.self.query.weight";
  const ChangedFixture held("causal", [&](Json&, StoredTensors& tensors) {
    tensors[name] = tensors.at("roberta.encoder.layer.0.attention.self.query.weight");
  });
  expect_parts(message_of<FormatError>(
                   [&] { (void)RobertaForCausalLM<float>::from_pretrained(held.path()); }),
               {"not in the model", name});
}

// ---- Heads that a checkpoint lacks ----

template <class Model>
void expect_fresh(const std::string& fixture, const std::vector<std::string>& missing) {
  const std::string folder = fixture_folder(fixture);
  expect_parts(message_of<FormatError>([&] { (void)Model::from_pretrained(folder); }),
               {folder, "missing: " + missing[0], "initialize_missing_head"});
  const Model model = Model::from_pretrained(folder, {.initialize_missing_head = true});
  EXPECT_EQ(model.load_report().missing, missing);
  Context cx(1);
  const Fixture inputs(fixture);
  for (const auto& [name, value] : named(model(cx, inputs.batch))) {
    EXPECT_TRUE(value.array().isFinite().all()) << name;
  }
  const auto encoder = RobertaModel<float>::from_pretrained(folder);
  EXPECT_TRUE(same_bits(model.roberta()(cx, inputs.batch), encoder(cx, inputs.batch)));
}

TEST(RobertaHeadFiles, AHeadOnABaseModelIsMadeOnRequest) {
  const std::vector<std::string> classifier = {"classifier.weight", "classifier.bias"};
  for (const char* base : {"base_pooler", "xlm_roberta", "mlm_gelu", "bf16"}) {
    SCOPED_TRACE(base);
    expect_fresh<RobertaForSequenceClassification<float>>(
        base, {"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight",
               "classifier.out_proj.bias"});
    expect_fresh<RobertaForTokenClassification<float>>(base, classifier);
    expect_fresh<RobertaForQuestionAnswering<float>>(base,
                                                     {"qa_outputs.weight", "qa_outputs.bias"});
  }
  expect_fresh<RobertaForMultipleChoice<float>>("base_pooler", classifier);
  expect_fresh<RobertaForMultipleChoice<float>>(
      "mlm_gelu", {"roberta.pooler.dense.weight", "roberta.pooler.dense.bias", "classifier.weight",
                   "classifier.bias"});
  expect_fresh<RobertaForCausalLM<float>>(
      "base_no_pooler", {"lm_head.dense.weight", "lm_head.dense.bias", "lm_head.layer_norm.weight",
                         "lm_head.layer_norm.bias", "lm_head.bias"});
  const auto model = RobertaForTokenClassification<float>::from_pretrained(
      fixture_folder("mlm_gelu"), {.initialize_missing_head = true});
  EXPECT_EQ(model.load_report().unexpected,
            (std::vector<std::string>{"lm_head.bias", "lm_head.dense.bias", "lm_head.dense.weight",
                                      "lm_head.layer_norm.bias", "lm_head.layer_norm.weight"}));
}

TEST(RobertaHeadFiles, AnotherConfigurationCanBeGiven) {
  const std::string folder = fixture_folder("mlm_gelu");
  RobertaConfig config = RobertaConfig::from_pretrained(folder);
  config.num_labels = 3;
  config.id2label = {{0, "O"}, {1, "B"}, {2, "I"}};
  const auto model = RobertaForTokenClassification<float>::from_pretrained(
      folder, config, {.initialize_missing_head = true});
  Context cx(1);
  const Fixture fixture("mlm_gelu");
  EXPECT_EQ(model(cx, fixture.batch).shape(), Shape({fixture.batch.tokens(), 3}));
  const TemporaryFolder saved;
  model.save_pretrained(saved.path());
  const auto again = RobertaForTokenClassification<float>::from_pretrained(saved.path());
  EXPECT_EQ(again.config().label(2), "I");
  EXPECT_EQ(again.config().label2id.at("B"), 1);
  EXPECT_TRUE(same_bits(again(cx, fixture.batch), model(cx, fixture.batch)));

  config.is_decoder = true;  // the masked language model's weights, read from left to right
  const auto causal = RobertaForCausalLM<double>::from_pretrained(folder, config, {});
  Batch shorter;
  shorter.add(std::vector<TokenId>{0, 5, 6});
  Batch longer;
  longer.add(std::vector<TokenId>{0, 5, 6, 7, 2});
  const Tensor<double> first = causal(cx, shorter);
  EXPECT_LE((causal(cx, longer).rows(0, 3).array() - first.array()).abs().maxCoeff(), 1e-10);
}

TEST(RobertaHeadFiles, APoolerIsKeptOnRequest) {
  const Fixture fixture("old_converter");
  using Model = RobertaForMaskedLM<float>;
  const Model plain = Model::from_pretrained(fixture.folder);
  EXPECT_FALSE(plain.roberta().pooler().has_value());
  EXPECT_EQ(plain.load_report().unexpected.size(), 2u);
  Context cx(1);
  const auto expect_pooler = [&](const Model& model) {
    const auto output = model.roberta().forward(cx, fixture.batch);
    ASSERT_TRUE(output.pooler_output.defined());
    EXPECT_LE(difference(output.pooler_output, fixture.values("pooler_output")).relative(), 1e-5);
    EXPECT_TRUE(model.load_report().unexpected.empty());
  };
  const Model kept = Model::from_pretrained(fixture.folder, {.pack = true, .keep_pooler = true});
  expect_pooler(kept);
  const TemporaryFolder folder;
  kept.save_packed(folder / "model.packed");
  expect_pooler(Model::from_pretrained(folder / "model.packed"));
  const Model none = Model::from_pretrained(fixture_folder("mlm_gelu"), {.keep_pooler = true});
  EXPECT_FALSE(none.roberta().pooler().has_value());
}

// ---- The class that a folder asks for ----

/// The class that is chosen for a fixture with other `architectures`.
std::string chosen_class(const std::string& fixture, const Json& architectures) {
  const ChangedFixture changed(
      fixture, [&](Json& config, StoredTensors&) { config["architectures"] = architectures; });
  std::string name;
  with_model_class<float>(changed.path(),
                          [&]<class Model>(std::type_identity<Model>, const auto& config) {
                            name = config.class_name(Model::suffix);
                          });
  return name;
}

TEST(AutoModel, IsTheClassThatTheArchitectureNames) {
  for (const std::string& name : fixture_names()) {
    const Fixture fixture(name);
    with_model_class<double>(
        fixture.folder, [&]<class Model>(std::type_identity<Model>, const auto& config) {
          EXPECT_EQ(config.class_name(Model::suffix), fixture.note("class")) << name;
        });
  }
  EXPECT_EQ(chosen_class("mlm_gelu", nullptr), "RobertaModel");
  EXPECT_EQ(chosen_class("camembert", Json::array()), "CamembertModel");
  EXPECT_EQ(chosen_class("mlm_gelu", {"XLMRobertaForTokenClassification", "x"}),
            "RobertaForTokenClassification");  // the same model under another family's name
}

TEST(AutoModel, SaysWhatItFoundAndWhatItKnows) {
  for (const std::string architecture :
       {"RobertaForFoo", "BertForMaskedLM", "RobertaPreLayerNormForMaskedLM", "ForMaskedLM", "",
        "Model"}) {
    expect_parts(
        message_of<ConfigError>([&] { (void)chosen_class("mlm_gelu", {architecture}); }),
        {"'architectures' names " + architecture, "RobertaModel", "RobertaForMaskedLM",
         "RobertaForCausalLM", "RobertaForSequenceClassification", "RobertaForTokenClassification",
         "RobertaForQuestionAnswering", "RobertaForMultipleChoice"});
  }
  const ChangedFixture deberta(
      "mlm_gelu", [](Json& config, StoredTensors&) { config["model_type"] = "deberta-v2"; });
  expect_parts(
      message_of<ConfigError>([&] { with_model<float>(deberta.path(), {}, [](const auto&) {}); }),
      {deberta.path(), "'model_type' is deberta-v2", "roberta", "xlm-roberta", "camembert",
       "bert"});
}

}  // namespace eigenformer::roberta_heads_test
