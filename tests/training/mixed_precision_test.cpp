// Training with products in bfloat16: it learns what training in float learns.
#include <gtest/gtest.h>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/training/corpus.hpp"
#include "eigenformer/training/trainer.hpp"

namespace mixed_precision_test {

namespace ef = eigenformer;
using ef::Index;
using Model = ef::RobertaForMaskedLM<float>;

constexpr ef::TokenId vocabulary = 20;

Model small() {
  ef::RobertaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 96;
  config.max_position_embeddings = 40;
  config.type_vocab_size = 1;
  config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1;
  return Model(config);
}

/// Texts in which most tokens follow from the one before.
ef::MaskedBatch batch_of(Index step) {
  const ef::Masking masking({.mask_token = vocabulary - 1, .vocab_size = vocabulary}, 5);
  ef::Draws draws(ef::Rng(6), static_cast<std::uint64_t>(step));
  ef::MaskedBatch batch;
  for (std::uint64_t i = 0; i < 8; ++i) {
    std::vector<ef::TokenId> text(24);
    Index word = draws.below(vocabulary - 5);
    for (auto& id : text) {
      id = static_cast<ef::TokenId>(4 + word);
      word = draws.uniform() < 0.9 ? (word + 3) % (vocabulary - 5) : draws.below(vocabulary - 5);
    }
    masking.add(batch, text, static_cast<std::uint64_t>(step), i);
  }
  return batch;
}

ef::PartLoss<float> loss_of(ef::Context& cx, const Model& model, Index step) {
  const ef::MaskedBatch masked = batch_of(step);
  return {ef::cross_entropy(cx, model(cx, masked.batch, masked.positions), masked.labels),
          static_cast<double>(masked.labels.size())};
}

/// The losses of 200 updates.
std::vector<double> losses(Model model, ef::Precision precision) {
  ef::Trainer<float, Model> trainer(
      model, ef::AdamW<float>(),
      {.schedule = {.peak = 5e-3, .warmup_steps = 20, .total_steps = 200}, .precision = precision});
  ef::Context cx(2);
  std::vector<double> all;
  while (trainer.steps() < 200) {
    all.push_back(trainer
                      .step(cx, 1,
                            [&](ef::Context& context, Index) {
                              return loss_of(context, model, trainer.steps());
                            })
                      .loss);
  }
  return all;
}

double mean(const std::vector<double>& values, std::size_t begin) {
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(begin), values.end(), 0.0) /
         static_cast<double>(values.size() - begin);
}

TEST(MixedPrecision, LearnsAsFloatDoes) {
  const Model model = small();
  const auto expected = losses(model, ef::Precision::full);
  const auto found = losses(model, ef::Precision::bf16);
  EXPECT_LT(mean(expected, 150), 0.8 * expected.front()) << "nothing was learned";
  EXPECT_NE(found.front(), expected.front()) << "nothing was rounded";
  EXPECT_NEAR(found.front() / expected.front(), 1, 1e-3);
  EXPECT_NEAR(mean(found, 150) / mean(expected, 150), 1, 5e-3);
}

TEST(MixedPrecision, GradientsPointTheSameWay) {
  const Model model = small();
  const auto gradients = [&](ef::Precision precision) {
    ef::Context cx(1);
    ef::Tape<float> tape;
    cx.tape = &tape;
    cx.products = precision;
    const ef::Tensor<float> loss = loss_of(cx, model, 0).mean;
    return tape.backward(loss);
  };
  const auto exact = gradients(ef::Precision::full);
  const auto rounded = gradients(ef::Precision::bf16);
  ef::for_each_gradient(model, exact, [&](const auto& named, const ef::Tensor<float>& expected) {
    if (named.name.find("key.bias") != named.name.npos) return;  // zero but for rounding
    const ef::Tensor<float>& whole = rounded[named.parameter.value()];
    const ef::Tensor<float> found = named.whole() ? whole : whole.rows(named.begin, named.end);
    const double product = (found.array() * expected.array()).template cast<double>().sum();
    const double lengths = std::sqrt(found.array().square().template cast<double>().sum() *
                                     expected.array().square().template cast<double>().sum());
    EXPECT_GT(product / lengths, 0.999) << named.name;
  });
}

TEST(MixedPrecision, IsRefusedWhereItCannotBe) {
  ef::Context cx(1);
  const auto x = ef::Tensor<double>::zeros({2, 3});
  const auto weight = ef::Tensor<double>::zeros({4, 3});
  cx.products = ef::Precision::bf16;
  EXPECT_THROW((void)ef::linear<double>(cx, x, weight, {}), ef::ConfigError);
  cx.products = ef::Precision::int8;
  EXPECT_THROW((void)ef::linear<float>(cx, ef::Tensor<float>::zeros({2, 3}),
                                       ef::Tensor<float>::zeros({4, 3}), {}),
               ef::ConfigError);
}

}  // namespace mixed_precision_test
