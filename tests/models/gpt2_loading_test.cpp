// GPT-2's configuration and files: class defaults, what is missing, saving, packing, fresh weights,
// and which class a folder asks for.
#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"

#include "../messages.hpp"
#include "fixture.hpp"

namespace gpt2_loading_test {

using namespace eigenformer;
using namespace testing_models;
using tests::expect_parts;
using tests::message_of;

GPT2Config parse(const std::string& text) {
  return GPT2Config::from_json(parse_json(text, "dir/config.json"), "dir/config.json");
}

// ---- The configuration ----

TEST(Gpt2Config, DefaultsAreTheClasses) {
  const GPT2Config made;
  const GPT2Config read = parse("{}");
  EXPECT_EQ(made.to_json(), read.to_json());
  EXPECT_EQ(read.vocab_size, 50257);
  EXPECT_EQ(read.n_positions, 1024);
  EXPECT_EQ(read.n_embd, 768);
  EXPECT_EQ(read.n_layer, 12);
  EXPECT_EQ(read.n_head, 12);
  EXPECT_EQ(read.inner_size(), 3072);
  EXPECT_EQ(read.activation(), Activation::gelu_tanh);
  EXPECT_EQ(read.layer_norm_epsilon, 1e-5);
  EXPECT_EQ(read.eos_token_id, std::vector<TokenId>{50256});
  EXPECT_FALSE(read.pad_token_id.has_value());
  EXPECT_TRUE(read.tie_word_embeddings);
  EXPECT_EQ(read.class_name("LMHeadModel"), "GPT2LMHeadModel");
}

/// distilgpt2's file, in what differs from gpt2's, and what neither needs.
TEST(Gpt2Config, KeepsWhatItDoesNotKnow) {
  const GPT2Config config = parse(R"({"model_type": "gpt2", "n_layer": 6, "n_ctx": 1024,
    "_num_labels": 1, "id2label": {"0": "LABEL_0"}, "summary_type": "cls_index", "use_cache": true,
    "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}}})");
  EXPECT_EQ(config.n_layer, 6);
  EXPECT_EQ(config.unknown_keys().size(), 6u);
  EXPECT_EQ(parse(config.to_json().dump()).to_json(), config.to_json());
  EXPECT_EQ(config.to_json()["n_ctx"], 1024);
}

TEST(Gpt2Config, ScalesFollowTheLayer) {
  GPT2Config config;
  EXPECT_EQ(config.attention_scale(3), 0.125);
  config.scale_attn_by_inverse_layer_idx = true;
  EXPECT_EQ(config.attention_scale(3), 0.03125);
  config.scale_attn_weights = false;
  EXPECT_EQ(config.attention_scale(3), 0.25);
}

TEST(Gpt2Config, RefusesByName) {
  const auto refused = [](const std::string& text, const std::vector<std::string>& parts) {
    const std::string message = message_of<ConfigError>([&] { (void)parse(text); });
    expect_parts(message, {"dir/config.json"});
    expect_parts(message, parts);
  };
  refused(R"({"model_type": "gpt_neo"})", {"'model_type' is gpt_neo", "gpt2"});
  refused(R"({"n_embd": 10, "n_head": 3})", {"'n_embd' is 10", "n_head, 3"});
  refused(R"({"n_embd": 0})", {"'n_embd' is 0"});
  refused(R"({"n_head": 0})", {"'n_head' is 0"});
  refused(R"({"n_layer": -1})", {"'n_layer' is -1"});
  refused(R"({"n_inner": 0})", {"'n_inner' is 0"});
  refused(R"({"n_positions": 0})", {"'n_positions' is 0"});
  refused(R"({"n_embd": 768.0})", {"'n_embd' is 768.0", "whole number"});
  refused(R"({"n_embd": 9223372036854775807})", {"n_embd"});
  refused(R"({"vocab_size": 0})", {"'vocab_size' is 0"});
  refused(R"({"resid_pdrop": 1.5})", {"'resid_pdrop' is 1.5", "from 0 to 1"});
  refused(R"({"layer_norm_epsilon": -1})", {"'layer_norm_epsilon' is -1"});
  refused(R"({"activation_function": "quick_gelu"})", {"activation_function", "quick_gelu"});
  refused(R"({"add_cross_attention": true})", {"'add_cross_attention'", "false"});
  refused(R"({"scale_attn_weights": 1})", {"'scale_attn_weights' is 1", "true or false"});
  refused("[]", {"array"});
}

// ---- Files ----

/// As with_model, for a folder of GPT-2.
template <class Function>
void with_gpt2(const std::string& path, const LoadOptions& options, Function&& f) {
  with_model_class<float>(path, [&]<class Model>(std::type_identity<Model>, const auto&) {
    if constexpr (std::is_same_v<typename Model::Config, GPT2Config>)
      f(Model::from_pretrained(path, options));
    else
      FAIL() << path;
  });
}

std::vector<std::string> sorted_names(const std::string& folder) {
  std::vector<std::string> names = Checkpoint::open(folder).names();
  std::sort(names.begin(), names.end());
  return names;
}

/// Those whose files have other names than transformers saves.
bool is_old(const std::string& name) {
  return name == "gpt2/base_with_prefix" || name == "gpt2/lm_published" ||
         name == "gpt2/lm_with_head";
}

TEST(Gpt2Files, AreSavedAsTransformersSavesThem) {
  Context cx(1);
  for (const std::string& name : fixture_names("gpt2/")) {
    SCOPED_TRACE(name);
    const Fixture fixture(name);
    with_gpt2(fixture.folder, {}, [&]<class Model>(const Model& model) {
      EXPECT_EQ(model.config().class_name(Model::suffix), fixture.note("class"));
      EXPECT_TRUE(model.load_report().unexpected.empty());
      const TemporaryFolder folder;
      model.save_pretrained(folder.path());
      const Checkpoint saved = Checkpoint::open(folder.path());
      const Checkpoint given = Checkpoint::open(fixture.folder);
      if (!is_old(name)) {
        EXPECT_EQ(sorted_names(folder.path()), sorted_names(fixture.folder));
        for (const std::string& tensor : given.names()) {
          EXPECT_EQ(saved.shape(tensor), given.shape(tensor)) << tensor;
          std::vector<float> a(static_cast<std::size_t>(saved.shape(tensor).numel()));
          std::vector<float> b(a.size());
          saved.read<float>(tensor, a);
          given.read<float>(tensor, b);
          EXPECT_EQ(a, b) << tensor;
        }
      }
      const GPT2Config config = GPT2Config::from_pretrained(folder.path());
      EXPECT_EQ(config.architectures, std::vector{fixture.note("class")});
      EXPECT_EQ(config.inner_size(), model.config().inner_size());
      const Model again = Model::from_pretrained(folder.path());
      EXPECT_TRUE(same_bits(again(cx, fixture.batch), model(cx, fixture.batch)));
    });
  }
}

TEST(Gpt2Files, PackedGiveTheSameBits) {
  Context cx(1);
  for (const std::string& name : fixture_names("gpt2/")) {
    const Fixture fixture(name);
    for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
      SCOPED_TRACE(concat(name, " ", name_of(precision)));
      const LoadOptions options{.precision = precision, .pack = true};
      with_gpt2(fixture.folder, options, [&]<class Model>(const Model& model) {
        const TemporaryFolder folder;
        const std::string path = folder / "model.packed";
        model.save_packed(path);
        const Model opened = Model::from_pretrained(path);
        const Tensor<float> expected = model(cx, fixture.batch);
        EXPECT_TRUE(same_bits(opened(cx, fixture.batch), expected));
        with_gpt2(path, {}, [&]<class Other>(const Other& other) {
          EXPECT_TRUE((std::is_same_v<Other, Model>));
          EXPECT_TRUE(same_bits(other(cx, fixture.batch), expected));
        });
        const auto decoder = GPT2Model<float>::from_pretrained(path);
        EXPECT_TRUE(same_bits(
            decoder(cx, fixture.batch),
            GPT2Model<float>::from_pretrained(fixture.folder, options)(cx, fixture.batch)));
        // bf16 has 8 bits and int8 7 and a sign, in matrices of 8 columns.
        const double largest = precision == Precision::full ? 1e-5 : 0.3;
        if (fixture.has("logits") && fixture.batch.mask.empty()) {
          EXPECT_LE(tokens_difference(expected, fixture, "logits").relative(), largest);
        }
      });
    }
  }
}

/// Every tensor of the file, left out on its own, is missed by name.
TEST(Gpt2Files, EveryTensorIsNeeded) {
  for (const std::string name : {"gpt2/base", "gpt2/lm", "gpt2/lm_untied"}) {
    for (const std::string& tensor : Checkpoint::open(fixture_folder(name)).names()) {
      const ChangedFixture changed(name,
                                   [&](Json&, StoredTensors& tensors) { tensors.erase(tensor); });
      expect_parts(
          message_of<FormatError>([&] { with_gpt2(changed.path(), {}, [](const auto&) {}); }),
          {changed.path(), "missing", tensor});
    }
  }
}

TEST(Gpt2Files, ShapesAreThoseOfTheFile) {
  const ChangedFixture changed("gpt2/lm_one_head", [&](Json& config, StoredTensors&) {
    config["n_inner"] = 11;  // 10 in the file
  });
  expect_parts(
      message_of<FormatError>([&] { (void)GPT2Model<float>::from_pretrained(changed.path()); }),
      {"transformer.h.0.mlp.c_fc.weight", "[7, 10]", "[7, 11]"});
  const ChangedFixture more("gpt2/lm", [&](Json&, StoredTensors& tensors) {
    tensors["transformer.h.0.attn.q_attn.bias"] = tensors["transformer.h.0.attn.c_proj.bias"];
  });
  expect_parts(
      message_of<FormatError>([&] { (void)GPT2Model<float>::from_pretrained(more.path()); }),
      {"not in the model", "transformer.h.0.attn.q_attn.bias"});
}

/// A head alone stands for the word embeddings that it is tied to.
TEST(Gpt2Files, TheHeadMayStandForTheWords) {
  const ChangedFixture changed("gpt2/lm_with_head", [&](Json&, StoredTensors& tensors) {
    tensors.erase("transformer.wte.weight");
  });
  const Fixture fixture("gpt2/lm_with_head");
  Context cx(1);
  EXPECT_TRUE(
      same_bits(GPT2LMHeadModel<float>::from_pretrained(changed.path())(cx, fixture.batch),
                GPT2LMHeadModel<float>::from_pretrained(fixture.folder)(cx, fixture.batch)));
}

TEST(Gpt2Files, AFreshHeadOnADecoder) {
  const std::string folder = fixture_folder("gpt2/base");
  const auto tied = GPT2LMHeadModel<float>::from_pretrained(folder);  // nothing is missing
  EXPECT_TRUE(tied.load_report().missing.empty());
  const ChangedFixture untied(
      "gpt2/base", [](Json& config, StoredTensors&) { config["tie_word_embeddings"] = false; });
  expect_parts(message_of<FormatError>(
                   [&] { (void)GPT2LMHeadModel<float>::from_pretrained(untied.path()); }),
               {"missing", "lm_head.weight", "holds GPT2Model"});
  const auto fresh =
      GPT2LMHeadModel<float>::from_pretrained(untied.path(), {.initialize_missing_head = true});
  EXPECT_EQ(fresh.load_report().missing, std::vector<std::string>{"lm_head.weight"});
}

// ---- Fresh weights and dropout ----

TEST(Gpt2Fresh, WeightsBeforeASumAreSmaller) {
  GPT2Config config;
  config.vocab_size = 500;
  config.n_embd = 96;
  config.n_layer = 2;
  const GPT2LMHeadModel<double> model(config);
  for (const auto& named : named_parameters(model)) {
    if (named.shape().rank() != 2) continue;
    const auto array = named.value().array();
    const double deviation = std::sqrt(array.square().mean());
    EXPECT_NEAR(deviation, named.name.ends_with("c_proj.weight") ? 0.01 : 0.02, 5e-4) << named.name;
  }
}

/// Embeddings, attention and sub-layers drop, each by its own probability.
TEST(Gpt2Fresh, DropoutFollowsTheConfiguration) {
  const Fixture fixture("gpt2/lm");
  const auto drops = [&](double embeddings, double attention, double sublayers) {
    GPT2Config config = GPT2Config::from_pretrained(fixture.folder);
    config.embd_pdrop = embeddings;
    config.attn_pdrop = attention;
    config.resid_pdrop = sublayers;
    const GPT2LMHeadModel<double> model(config);
    Context cx(1);
    const Tensor<double> before = model(cx, fixture.batch);
    DropoutGenerator generator(1);
    cx.dropout = &generator;
    return !same_bits(before, model(cx, fixture.batch));
  };
  EXPECT_FALSE(drops(0, 0, 0));
  EXPECT_TRUE(drops(0.5, 0, 0));
  EXPECT_TRUE(drops(0, 0.5, 0));
  EXPECT_TRUE(drops(0, 0, 0.5));
}

TEST(Gpt2Inputs, AreChecked) {
  const Fixture fixture("gpt2/full_length");  // 23 words, 12 positions
  const auto model = GPT2Model<double>::from_pretrained(fixture.folder);
  Context cx(1);
  const auto run = [&](const std::vector<TokenId>& ids, const std::vector<TokenId>& types = {}) {
    Batch batch;
    batch.add(ids, types);
    return model(cx, batch);
  };
  EXPECT_EQ(run(std::vector<TokenId>(12, 0)).size(0), 12);
  expect_parts(message_of<ShapeError>([&] { (void)run(std::vector<TokenId>(13, 5)); }),
               {"13", "12"});
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 23, 2}); }), {"23"});
  EXPECT_TRUE(same_bits(run({0, 5}, {0, 0}), run({0, 5})));
  expect_parts(message_of<ShapeError>([&] { (void)run({0, 5}, {0, 1}); }), {"types"});
  EXPECT_EQ(model(cx, Batch()).shape(), Shape({0, 6}));
}

// ---- Any family ----

TEST(Gpt2Auto, FoldersAskForTheClass) {
  const ChangedFixture nameless(
      "gpt2/base", [](Json& config, StoredTensors&) { config.erase("architectures"); });
  with_model_class<float>(nameless.path(),
                          []<class Model>(std::type_identity<Model>, const auto& config) {
                            EXPECT_TRUE((std::is_same_v<Model, GPT2Model<float>>));
                            EXPECT_EQ(config.max_tokens(), 12);
                          });
  const ChangedFixture untyped("gpt2/lm",
                               [](Json& config, StoredTensors&) { config.erase("model_type"); });
  with_model_class<float>(untyped.path(), []<class Model>(std::type_identity<Model>, const auto&) {
    EXPECT_TRUE((std::is_same_v<Model, GPT2LMHeadModel<float>>));
  });
  const ChangedFixture other("gpt2/lm", [](Json& config, StoredTensors&) {
    config["architectures"] = {"GPT2DoubleHeadsModel"};
  });
  expect_parts(message_of<ConfigError>([&] { with_gpt2(other.path(), {}, [](const auto&) {}); }),
               {other.path(), "GPT2DoubleHeadsModel", "GPT2Model", "GPT2LMHeadModel"});
}

TEST(Gpt2Auto, CausalLanguageModelsOfAllFamilies) {
  Context cx(1);
  for (const std::string name : {"gpt2/lm", "bert/causal", "causal"}) {
    const Fixture fixture(name);
    const auto model = AutoModelForCausalLM<double>::from_pretrained(fixture.folder);
    EXPECT_EQ(model.model().index(), name == "gpt2/lm" ? 2u : name == "bert/causal" ? 1u : 0u);
    EXPECT_LE(tokens_difference(model(cx, fixture.batch), fixture, "logits").relative(), 1e-12);
  }
  const std::string folder = fixture_folder("gpt2/lm");
  expect_parts(
      message_of<ConfigError>([&] { (void)AutoModelForMaskedLM<float>::from_pretrained(folder); }),
      {folder, "transformer"});
}

}  // namespace gpt2_loading_test
