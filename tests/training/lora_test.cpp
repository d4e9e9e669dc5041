// LoRA adapters against PEFT in float64 (tests/oracle/lora_fixtures.py): outputs, gradients,
// updates, files. Where EIGENFORMER_LORA_FOLDER is set, a trained adapter and its logits are left
// there for lora_fixtures.py --check.
#include "eigenformer/training/lora.hpp"

#include <cstdlib>

#include <gtest/gtest.h>

#include "eigenformer/io/json.hpp"
#include "eigenformer/models/roberta_heads.hpp"
#include "eigenformer/training/trainer.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace lora_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Tensor;

const std::string fixtures = EIGENFORMER_FIXTURES "/lora/";

/// What PEFT computed.
template <class Scalar>
class Expected {
 public:
  explicit Expected(const std::string& folder)
      : file(ef::SafetensorsFile::open(folder + "/expected.safetensors")) {
    const ef::Shape shape = file.shape("input_ids");
    const auto mask = read<std::uint8_t>("attention_mask");
    batch = ef::Batch::from_padded(read<ef::TokenId>("input_ids"), shape[0], shape[1], mask);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0) kept.push_back(static_cast<Index>(i));
    }
    const auto all = read<ef::TokenId>("labels");
    if (all.size() != mask.size()) kept.clear();  // one label for each text
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i] != -100) labels.push_back(all[i]);
    }
  }

  template <class T>
  [[nodiscard]] std::vector<T> read(const std::string& name) const {
    std::vector<T> all(static_cast<std::size_t>(file.shape(name).numel()));
    file.read<T>(name, all);
    return all;
  }
  /// Logits of the rows that are no padding.
  [[nodiscard]] Tensor<Scalar> logits(const std::string& name) const {
    const ef::Shape shape = file.shape(name);
    Tensor<Scalar> all(ef::Shape{shape.numel() / shape[shape.rank() - 1], shape[shape.rank() - 1]});
    file.read<Scalar>(name, {all.data(), static_cast<std::size_t>(all.numel())});
    ef::Context cx(1);
    return kept.empty() ? all : ef::gather_rows(cx, all, std::span<const Index>(kept));
  }

  ef::SafetensorsFile file;
  ef::Batch batch;
  std::vector<Index> kept;
  std::vector<ef::TokenId> labels;
};

template <class Scalar>
void expect_near(const Tensor<Scalar>& found, const std::vector<Scalar>& truth, double tolerance,
                 const std::string& name) {
  ASSERT_EQ(static_cast<std::size_t>(found.numel()), truth.size()) << name;
  double largest = 0, difference = 0;
  const Tensor<Scalar> flat = found.clone();
  for (std::size_t i = 0; i < truth.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(truth[i])));
    difference = std::max(difference, std::abs(static_cast<double>(flat.data()[i] - truth[i])));
  }
  EXPECT_LE(difference, tolerance * largest) << name;
}
template <class Scalar>
void expect_near(const Tensor<Scalar>& found, const Tensor<Scalar>& truth, double tolerance,
                 const std::string& name) {
  ASSERT_EQ(found.shape(), truth.shape()) << name;
  expect_near(found, std::vector<Scalar>(truth.data(), truth.data() + truth.numel()), tolerance,
              name);
}

template <class Scalar>
ef::AdamW<Scalar> adam() {
  return ef::AdamW<Scalar>({.weight_decay = 0.1});
}
ef::TrainerOptions options(bool recompute = false) {
  return {.schedule = {.decay = ef::Decay::constant, .peak = 0.01}, .recompute = recompute};
}
template <class Scalar, class Model>
using Trainer = ef::Trainer<Scalar, ef::Lora<Scalar, Model>>;

template <class Scalar, class Lora>
double step(Trainer<Scalar, Lora>& trainer, const ef::Lora<Scalar, Lora>& lora,
            const Expected<Scalar>& expected) {
  ef::Context cx(1);
  return trainer
      .step(cx, 1,
            [&](ef::Context& context, Index) -> ef::PartLoss<Scalar> {
              return {ef::cross_entropy(context, lora(context, expected.batch), expected.labels)};
            })
      .loss;
}

/// All that PEFT computed in a case; the base must stay as it is.
template <class Scalar, class Model>
void expect_case(const std::string& name, double tolerance, bool recompute) {
  const std::string folder = fixtures + name;
  const Expected<Scalar> expected(folder);
  Model model = Model::from_pretrained(folder);
  const Model untouched = model;
  ef::Lora<Scalar, Model> lora =
      ef::Lora<Scalar, Model>::from_pretrained(model, folder + "/adapter");
  ef::Context cx(1);
  expect_near(lora.merged()(cx, expected.batch), expected.logits("logits"), tolerance, "merged");
  {
    ef::Tape<Scalar> tape;
    tape.recompute = recompute;
    cx.tape = &tape;
    const Tensor<Scalar> logits = lora(cx, expected.batch);
    expect_near(logits.detach(), expected.logits("logits"), tolerance, "logits");
    const auto loss = ef::cross_entropy(cx, logits, expected.labels);
    cx.tape = nullptr;
    const ef::Gradients<Scalar> gradients = tape.backward(loss);
    std::size_t trained = 0;
    ef::for_each_gradient(lora, gradients, [&](const auto& named, const auto& gradient) {
      const std::string key = ef::concat("gradients.base_model.model.", named.name);
      expect_near(gradient, expected.template read<Scalar>(key), tolerance, key);
      ++trained;
    });
    EXPECT_EQ(gradients.size(), trained);  // nothing frozen has one
    for (const auto& info : expected.file.tensors()) {
      if (info.name.starts_with("gradients.")) --trained;
    }
    EXPECT_EQ(trained, 0u);
  }
  Trainer<Scalar, Model> trainer(lora, adam<Scalar>(), options(recompute));
  for (const double loss : expected.template read<double>("losses")) {
    EXPECT_NEAR((step<Scalar, Model>(trainer, lora, expected)), loss, tolerance * loss);
  }
  for (const auto& named : ef::named_parameters(lora)) {
    const std::string key = ef::concat("final.base_model.model.", named.name);
    expect_near(named.value(), expected.template read<Scalar>(key), 10 * tolerance, key);
  }
  expect_near(lora.merged()(cx, expected.batch), expected.logits("final_logits"), 10 * tolerance,
              "final logits");
  const std::vector<std::string>& saved = lora.options().modules_to_save;
  std::vector<Tensor<Scalar>> before;
  for (const auto& named : ef::named_parameters(untouched)) before.push_back(named.value());
  auto at = before.begin();
  for (const auto& named : ef::named_parameters(std::as_const(model))) {
    const Tensor<Scalar>& old = *at++;
    if (!saved.empty() && named.name.starts_with(saved.front())) continue;
    EXPECT_TRUE((named.value().array() == old.array()).all()) << named.name;
  }
}

using Sequence = ef::RobertaForSequenceClassification<double>;

Sequence sequence() { return Sequence::from_pretrained(fixtures + "sequence"); }

TEST(Lora, IsPeftsForAClassifier) { expect_case<double, Sequence>("sequence", 1e-10, false); }
TEST(Lora, IsPeftsForAllLinearLayers) {
  expect_case<double, ef::RobertaForMaskedLM<double>>("mlm_all_linear", 1e-10, false);
}
TEST(Lora, IsTheSameRecomputed) {
  expect_case<double, ef::RobertaForMaskedLM<double>>("mlm_all_linear", 1e-10, true);
}
TEST(Lora, IsPeftsInFloat) {
  expect_case<float, ef::RobertaForSequenceClassification<float>>("sequence", 2e-3, false);
}

TEST(Lora, SavesWhatPeftSaves) {
  Sequence model = sequence();
  const auto lora =
      ef::Lora<double, Sequence>::from_pretrained(model, fixtures + "sequence/adapter");
  const ef::tests::TemporaryFolder folder;
  lora.save_pretrained(folder.path());
  EXPECT_EQ(ef::read_file(folder / "adapter_model.safetensors"),
            ef::read_file(fixtures + "sequence/adapter/adapter_model.safetensors"));
  const ef::Json ours = ef::read_json(folder / "adapter_config.json");
  const ef::Json peft = ef::read_json(fixtures + "sequence/adapter/adapter_config.json");
  for (const auto& [key, value] : ours.items()) {
    if (key == "target_modules")  // a set
      EXPECT_EQ(std::set<std::string>(value), std::set<std::string>(peft.at(key)));
    else
      EXPECT_EQ(value, peft.at(key)) << key;
  }
}

TEST(Lora, FreshAdaptersChangeNothing) {
  Sequence model = sequence();
  const Expected<double> expected(fixtures + "sequence");
  ef::Context cx(1);
  const Tensor<double> before = model(cx, expected.batch);
  const ef::Lora<double, Sequence> lora(model, {.r = 2, .modules_to_save = {"classifier"}});
  EXPECT_TRUE((lora.merged()(cx, expected.batch).array() == before.array()).all());
  for (const auto& named : ef::named_parameters(lora)) {
    const double largest = named.value().array().abs().maxCoeff();
    if (named.name.ends_with("lora_A.weight")) {
      EXPECT_GT(largest, 0.2);  // of 24 numbers up to 1 / sqrt(12)
      EXPECT_LE(largest, 1 / std::sqrt(12.0));
    } else if (named.name.ends_with("lora_B.weight")) {
      EXPECT_EQ(largest, 0);
    }
  }
  EXPECT_EQ(ef::parameter_count(lora), 2 * 2 * (2 * 12 + 12 * 2) + (12 * 12 + 12) + (3 * 12 + 3));
}

TEST(Lora, TrainingGoesOn) {
  const Expected<double> expected(fixtures + "sequence");
  Sequence model = sequence();
  ef::Lora<double, Sequence> lora(model, {.modules_to_save = {"classifier"}});
  Trainer<double, Sequence> trainer(lora, adam<double>(), options());
  for (int i = 0; i < 3; ++i) (void)step<double, Sequence>(trainer, lora, expected);
  const ef::tests::TemporaryFolder folder;
  trainer.save(folder.path());
  Sequence again = sequence();
  auto loaded = ef::Lora<double, Sequence>::from_pretrained(again, folder.path());
  Trainer<double, Sequence> after(loaded, adam<double>(), options());
  after.resume(folder.path());
  EXPECT_EQ(after.steps(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((step<double, Sequence>(trainer, lora, expected)),
              (step<double, Sequence>(after, loaded, expected)));
  }
  if (const char* kept = std::getenv("EIGENFORMER_LORA_FOLDER")) {
    lora.save_pretrained(kept);
    ef::Context cx;
    const Tensor<double> logits = lora.merged()(cx, expected.batch);
    const std::span all(logits.data(), static_cast<std::size_t>(logits.numel()));
    const std::vector<ef::TensorToWrite> tensors = {
        {"logits", ef::DType::f64, logits.shape(), std::as_bytes(all)}};
    ef::write_safetensors(std::string(kept) + "/logits.safetensors", tensors);
  }
}

TEST(Lora, SaysWhatItCannotDo) {
  using Adapters = ef::Lora<double, Sequence>;
  Sequence model = sequence();
  const auto problem = [&](ef::LoraOptions options) {
    return ef::tests::message_of<ef::ConfigError>([&] { Adapters(model, std::move(options)); });
  };
  using ef::tests::expect_parts;
  expect_parts(problem({.r = 0}), {"'r' is 0"});
  expect_parts(problem({.lora_dropout = 0.1}), {"'lora_dropout' is 0.1"});
  expect_parts(problem({.target_modules = {"query", "q_proj"}}), {"'q_proj'", "target_modules"});
  expect_parts(problem({.target_modules = {"uery"}}), {"'uery'"});
  expect_parts(problem({.modules_to_save = {"score"}}), {"'score'", "modules_to_save"});
  expect_parts(problem({.target_modules = {"word_embeddings"}}), {"word_embeddings", "embedding"});
  ef::RobertaForMaskedLM<double> mlm =
      ef::RobertaForMaskedLM<double>::from_pretrained(fixtures + "mlm_all_linear");
  expect_parts(ef::tests::message_of<ef::ConfigError>([&] {
                 ef::Lora<double, ef::RobertaForMaskedLM<double>>(mlm,
                                                                  {.modules_to_save = {"lm_head"}});
               }),
               {"lm_head.decoder.weight", "tied"});

  const Expected<double> expected(fixtures + "sequence");
  const Adapters lora(model);
  ef::Context cx(1);
  expect_parts(ef::tests::message_of<ef::Error>([&] { (void)lora(cx, expected.batch); }),
               {"merged()"});
}

TEST(Lora, RefusesFilesOfAnotherKind) {
  using Adapters = ef::Lora<double, Sequence>;
  const std::string source = fixtures + "sequence/adapter";
  Sequence model = sequence();
  const auto problem = [&](const char* key, ef::Json value) {
    const ef::tests::TemporaryFolder folder;
    ef::Json config = ef::read_json(source + "/adapter_config.json");
    config[key] = std::move(value);
    ef::write_file(folder / "adapter_config.json", config.dump());
    ef::write_file(folder / "adapter_model.safetensors",
                   ef::read_file(source + "/adapter_model.safetensors"));
    return ef::tests::message_of<ef::Error>(
        [&] { (void)Adapters::from_pretrained(model, folder.path()); });
  };
  using ef::tests::expect_parts;
  for (const char* key : {"use_dora", "use_rslora", "fan_in_fan_out", "use_something_new"}) {
    expect_parts(problem(key, true), {ef::concat("'", key, "' is true"), "adapter_config.json"});
  }
  expect_parts(problem("rank_pattern", {{"query", 4}}), {"rank_pattern"});
  expect_parts(problem("peft_type", "IA3"), {"IA3"});
  expect_parts(problem("bias", "all"), {"'bias' is all"});
  expect_parts(problem("target_modules", ".*query"), {"target_modules"});
  expect_parts(problem("r", 4), {"query.lora_A.weight", "[3, 12]", "[4, 12]"});
  expect_parts(problem("target_modules", {"query"}), {"holds 12 tensors", "asks for 8"});
  expect_parts(problem("target_modules", {"query", "value", "key"}), {"key.lora_A.weight"});

  // What others trained with dropout can be merged.
  const ef::tests::TemporaryFolder folder;
  ef::Json config = ef::read_json(source + "/adapter_config.json");
  config["lora_dropout"] = 0.1;
  ef::write_file(folder / "adapter_config.json", config.dump());
  ef::write_file(folder / "adapter_model.safetensors",
                 ef::read_file(source + "/adapter_model.safetensors"));
  const Adapters lora = Adapters::from_pretrained(model, folder.path());
  const Expected<double> expected(fixtures + "sequence");
  ef::Context cx(1);
  expect_near(lora.merged()(cx, expected.batch), expected.logits("logits"), 1e-10, "merged");
  ef::Tape<double> tape;
  cx.tape = &tape;
  expect_parts(ef::tests::message_of<ef::ConfigError>([&] { (void)lora(cx, expected.batch); }),
               {"'lora_dropout' is 0.1"});
}

}  // namespace lora_test
