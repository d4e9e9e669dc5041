// ELECTRA's configuration and heads: embeddings of another size, summaries that are refused by
// name.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace electra_loading_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

/// google/electra-small-discriminator's file has the class defaults.
TEST(ElectraConfig, ReadsThePublishedFile) {
  const ElectraConfig made;
  const ElectraConfig read =
      ElectraConfig::from_json(parse_json(R"({"architectures": ["ElectraForPreTraining"],
      "attention_probs_dropout_prob": 0.1, "embedding_size": 128, "hidden_act": "gelu",
      "hidden_dropout_prob": 0.1, "hidden_size": 256, "initializer_range": 0.02,
      "intermediate_size": 1024, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
      "model_type": "electra", "num_attention_heads": 4, "num_hidden_layers": 12,
      "pad_token_id": 0, "summary_activation": "gelu", "summary_last_dropout": 0.1,
      "summary_type": "first", "summary_use_proj": true, "type_vocab_size": 2,
      "vocab_size": 30522})",
                                          "dir/config.json"),
                               "dir/config.json");
  for (const ElectraConfig& config : {made, read}) {
    EXPECT_EQ(config.hidden_size, 256);
    EXPECT_EQ(config.num_hidden_layers, 12);
    EXPECT_EQ(config.num_attention_heads, 4);
    EXPECT_EQ(config.intermediate_size, 1024);
    EXPECT_EQ(config.type_vocab_size, 2);
    EXPECT_EQ(config.max_tokens(), 512);
    EXPECT_EQ(config.class_name("ForPreTraining"), "ElectraForPreTraining");
  }
  EXPECT_TRUE(read.unknown_keys().empty());
}

ElectraConfig small(const Json& own) {
  ElectraConfig config;
  config.vocab_size = 10;
  config.hidden_size = config.intermediate_size = 8;
  config.num_hidden_layers = 1;
  config.extra = own;
  return config;
}

TEST(ElectraModel, EmbeddingsAreProjectedWhereSizesDiffer) {
  EXPECT_EQ(ElectraModel<float>(small(Json::object())).embedding_size(), 128);
  EXPECT_EQ(ElectraModel<float>(small({{"embedding_size", 5}})).embedding_size(), 5);
  const auto projects = [](Index size) {
    const ElectraModel<float> model(small({{"embedding_size", size}}));
    EXPECT_FALSE(model.pooler().has_value());
    bool found = false;
    for (const auto& named : named_parameters(model)) {
      found = found || named.name == "embeddings_project.weight";
    }
    return found;
  };
  EXPECT_TRUE(projects(5));
  EXPECT_FALSE(projects(8));
  for (const Json& size : {Json(0), Json(-1), Json("5"), Json(EncoderConfig::max_features + 1)}) {
    expect_parts(message_of<ConfigError>([&] {
                   (void)ElectraModel<float>(small({{"embedding_size", size}}));
                 }),
                 {"'embedding_size' is", "it must be"});
  }
}

TEST(ElectraForMultipleChoice, OtherSummariesAreRefusedByName) {
  const std::vector<std::pair<std::string, Json>> refused = {
      {"summary_type", "mean"},          {"summary_type", "attn"},
      {"summary_use_proj", false},       {"summary_proj_to_labels", true},
      {"summary_activation", "mish"},    {"summary_first_dropout", 2},
      {"summary_last_dropout", "little"}};
  for (const auto& [key, value] : refused) {
    const ElectraConfig config = small({{key, value}});
    expect_parts(message_of<ConfigError>([&] { (void)ElectraForMultipleChoice<float>(config); }),
                 {key});
    EXPECT_NO_THROW((void)ElectraForSequenceClassification<float>(config)) << key;
  }
}

TEST(ElectraForPreTraining, LabelsAreOneOrNought) {
  const ElectraForPreTraining<double> model(small({{"embedding_size", 5}}));
  Context cx(1);
  Tensor<double> logits({3});
  for (Index i = 0; i < 3; ++i) logits.data()[i] = 0;
  const auto loss = [&](const std::vector<TokenId>& labels) {
    return model.loss(cx, logits, labels).data()[0];
  };
  EXPECT_NEAR(loss({0, 1, -100}), 0.6931471805599453, 1e-15);
  EXPECT_THROW((void)loss({0, 1}), ShapeError);
  EXPECT_THROW((void)loss({0, 1, 2}), ShapeError);
  EXPECT_THROW((void)loss({-100, -100, -100}), ShapeError);
}

}  // namespace electra_loading_test
