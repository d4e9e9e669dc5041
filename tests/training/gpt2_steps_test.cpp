// Updates of GPT-2 by the trainer, against PyTorch in float64 (tests/oracle/
// gpt2_training_fixtures.py): losses, and the parameters in the end.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/models/gpt2.hpp"
#include "eigenformer/training/trainer.hpp"

namespace gpt2_steps_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Tensor;
using ef::TokenId;
using Model = ef::GPT2LMHeadModel<double>;

template <class T>
std::vector<T> read(const ef::SafetensorsFile& file, const std::string& name) {
  std::vector<T> all(static_cast<std::size_t>(file.shape(name).numel()));
  file.read<T>(name, all);
  return all;
}

/// All updates; a batch is one part, or each of its texts is.
void check_updates(bool one_by_one, bool recompute) {
  const auto expected =
      ef::SafetensorsFile::open(EIGENFORMER_FIXTURES "/gpt2_training/expected.safetensors");
  auto model = Model::from_pretrained(EIGENFORMER_FIXTURES "/models/gpt2/lm");
  ef::Trainer<double, Model> trainer(model, ef::AdamW<double>({.weight_decay = 0.1}),
                                     {.schedule = {.decay = ef::Decay::constant, .peak = 1e-2},
                                      .clip = 1,
                                      .dropout = false,
                                      .recompute = recompute});
  ef::Context cx(1);
  for (int step = 0; step < 8; ++step) {
    const std::string number = "." + std::to_string(step);
    const ef::Shape shape = expected.shape("input_ids" + number);
    const ef::Batch batch =
        ef::Batch::from_padded(read<TokenId>(expected, "input_ids" + number), shape[0], shape[1],
                               read<std::uint8_t>(expected, "attention_mask" + number));
    const auto loss = [&](ef::Context& on, Index i) {
      const ef::Batch part = one_by_one ? batch.part(i, i + 1) : batch;
      return ef::PartLoss<double>{model.loss(on, model(on, part), part, part.ids),
                                  static_cast<double>(part.tokens() - part.segments())};
    };
    const auto report = trainer.step(cx, one_by_one ? batch.segments() : 1, loss);
    EXPECT_NEAR(report.loss, read<double>(expected, "loss" + number)[0], 1e-9) << step;
  }
  for (const auto& named : ef::named_parameters(model)) {
    if (named.tied) continue;
    const std::string name = "parameters." + std::string(named.name);
    ASSERT_EQ(expected.shape(name), named.file_shape()) << name;
    Tensor<double> wanted(named.file_shape());
    expected.read<double>(name, {wanted.data(), static_cast<std::size_t>(wanted.numel())});
    if (named.transposed) wanted = Tensor<double>(wanted.matrix().transpose());
    EXPECT_LE((named.value().array() - wanted.array()).abs().maxCoeff(), 1e-8) << name;
  }
}

TEST(Gpt2Steps, AreThoseOfPyTorch) { check_updates(false, false); }
TEST(Gpt2Steps, InPartsAndRecomputed) { check_updates(true, true); }

}  // namespace gpt2_steps_test
