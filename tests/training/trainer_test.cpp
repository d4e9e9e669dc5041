// A training goes on after a checkpoint with the numbers of one that was never interrupted, and
// stops, nothing lost, where numbers are no longer finite.
#include "eigenformer/training/trainer.hpp"

#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/training/corpus.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace trainer_test {

namespace ef = eigenformer;
using ef::Index;
using Model = ef::RobertaForMaskedLM<float>;

constexpr ef::TokenId vocabulary = 50;

ef::RobertaConfig small() {
  ef::RobertaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.intermediate_size = 20;
  config.max_position_embeddings = 40;
  config.type_vocab_size = 1;
  return config;
}

/// The batch of an update: everything follows from its number.
ef::MaskedBatch batch_of(Index step, Index part) {
  const ef::Masking masking({.mask_token = vocabulary - 1, .vocab_size = vocabulary}, 5);
  ef::Draws draws(ef::Rng(6), static_cast<std::uint64_t>(step * 10 + part));
  ef::MaskedBatch batch;
  for (int i = 0; i < 3; ++i) {
    std::vector<ef::TokenId> text(static_cast<std::size_t>(8 + draws.below(9)));
    for (auto& id : text) id = static_cast<ef::TokenId>(4 + draws.below(vocabulary - 5));
    masking.add(batch, text, 0, static_cast<std::uint64_t>(step));
  }
  return batch;
}

using Trainer = ef::Trainer<float, Model>;
ef::TrainerOptions options() {
  return {.schedule = {.peak = 1e-2, .warmup_steps = 2, .total_steps = 30}, .clip = 1, .seed = 9};
}

std::vector<double> losses(Trainer& trainer, const Model& model, Index until, Index parts,
                           int threads = 1) {
  ef::Context cx(threads);
  std::vector<double> all;
  while (trainer.steps() < until) {
    const ef::UpdateReport report =
        trainer.step(cx, parts, [&](ef::Context& context, Index part) -> ef::PartLoss<float> {
          const ef::MaskedBatch masked = batch_of(trainer.steps(), part);
          return {ef::cross_entropy(context, model(context, masked.batch, masked.positions),
                                    masked.labels),
                  static_cast<double>(masked.labels.size())};
        });
    all.push_back(report.loss);
  }
  return all;
}

bool same_weights(const Model& a, const Model& b) {
  std::vector<ef::Tensor<float>> values;
  for (const auto& named : ef::named_parameters(a)) values.push_back(named.value());
  std::size_t i = 0;
  bool same = true;
  for (const auto& named : ef::named_parameters(b)) {
    const ef::Tensor<float>& other = values[i++];
    same &= std::memcmp(named.value().data(), other.data(),
                        static_cast<std::size_t>(other.numel()) * sizeof(float)) == 0;
  }
  return same;
}

TEST(Trainer, DependsNeitherOnThreadsNorOnACheckpoint) {
  Model whole(small());
  Model threads = whole;
  Model first = whole;
  Trainer trainer(whole, ef::AdamW<float>(), options());
  const auto expected = losses(trainer, whole, 12, 2);
  Trainer other(threads, ef::AdamW<float>(), options());
  EXPECT_EQ(losses(other, threads, 12, 2, 3), expected);
  EXPECT_TRUE(same_weights(whole, threads));

  const ef::tests::TemporaryFolder folder;
  EXPECT_FALSE(Trainer::can_resume(folder.path()));
  Trainer before(first, ef::AdamW<float>(), options());
  auto found = losses(before, first, 5, 2);
  before.save(folder.path());
  ASSERT_TRUE(Trainer::can_resume(folder.path()));
  Model loaded = Model::from_pretrained(folder.path());
  Trainer after(loaded, ef::AdamW<float>(), options());
  after.resume(folder.path());
  EXPECT_EQ(after.steps(), 5);
  const auto rest = losses(after, loaded, 12, 2);
  found.insert(found.end(), rest.begin(), rest.end());
  EXPECT_EQ(found, expected);
  EXPECT_TRUE(same_weights(whole, loaded));
}

TEST(Trainer, DropsAnewInEachUpdate) {
  Model model(small());
  ef::TrainerOptions still = options();
  still.schedule.peak = 0;
  Trainer dropping(model, ef::AdamW<float>({.weight_decay = 0}), still);
  ef::Context cx(1);
  const auto loss = [&](Trainer& trainer) {
    return trainer
        .step(cx, 1,
              [&](ef::Context& context, Index) -> ef::PartLoss<float> {
                const ef::MaskedBatch masked = batch_of(0, 0);
                return {ef::cross_entropy(context, model(context, masked.batch, masked.positions),
                                          masked.labels)};
              })
        .loss;
  };
  EXPECT_NE(loss(dropping), loss(dropping));
  still.dropout = false;
  Trainer plain(model, ef::AdamW<float>({.weight_decay = 0}), still);
  EXPECT_EQ(loss(plain), loss(plain));
}

TEST(Trainer, StopsWhereNumbersAreNotFinite) {
  Model model(small());
  Trainer trainer(model, ef::AdamW<float>(), options());
  (void)losses(trainer, model, 3, 1);
  for (const auto& named : ef::named_parameters(model)) {
    if (named.name == "lm_head.dense.weight") {
      auto value = named.value();
      value.data()[7] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const Model copy = model;
  ef::tests::expect_parts(
      ef::tests::message_of<ef::Error>([&] { (void)losses(trainer, model, 4, 1); }),
      {"update 4", "nan", "lm_head.dense.weight"});
  EXPECT_EQ(trainer.steps(), 3);
  EXPECT_TRUE(same_weights(model, copy));
  // It is not saved, so that the last good one stays.
  const ef::tests::TemporaryFolder folder;
  ef::tests::expect_parts(ef::tests::message_of<ef::Error>([&] { trainer.save(folder.path()); }),
                          {"after update 3", "parameter lm_head.dense.weight is not finite"});
  EXPECT_FALSE(Trainer::can_resume(folder.path()));
  // Of finite numbers the largest is named.
  Model large(small());
  for (const auto& named : ef::named_parameters(large)) {
    if (named.name == "lm_head.layer_norm.weight") named.value().data()[3] = 65536;
  }
  const Trainer other(large, ef::AdamW<float>(), options());
  other.require_finite();
  ef::tests::expect_parts(
      ef::tests::message_of<ef::Error>(
          [&] { other.require_finite("the dev loss", std::numeric_limits<double>::infinity()); }),
      {"the dev loss after update 0 is inf", "65536", "lm_head.layer_norm.weight"});
}

template <class Optimizer>
void expect_same_when_eager(Index parts, double clip, bool recompute = false) {
  ef::TrainerOptions later = options();
  later.clip = clip;
  later.recompute = recompute;
  ef::TrainerOptions eager = later;
  eager.eager = true;
  Model a(small());
  Model b = a;
  ef::Trainer<float, Model, Optimizer> one(a, Optimizer(), later);
  ef::Trainer<float, Model, Optimizer> other(b, Optimizer(), eager);
  ef::Context cx(2);
  for (Index step = 0; step < 6; ++step) {
    const auto update = [&](auto& trainer, const Model& model) {
      return trainer.step(cx, parts, [&](ef::Context& context, Index part) {
        const ef::MaskedBatch masked = batch_of(step, part);
        const auto logits = model(context, masked.batch, masked.positions);
        return ef::PartLoss<float>{ef::cross_entropy(context, logits, masked.labels),
                                   static_cast<double>(masked.labels.size())};
      });
    };
    const ef::UpdateReport expected = update(one, a);
    const ef::UpdateReport found = update(other, b);
    EXPECT_EQ(found.loss, expected.loss);
    EXPECT_NEAR(found.gradient_norm, expected.gradient_norm, 1e-12 * expected.gradient_norm);
    EXPECT_EQ(found.learning_rate, expected.learning_rate);
    EXPECT_EQ(found.step, expected.step);
  }
  EXPECT_TRUE(same_weights(a, b));
}

TEST(Trainer, EagerOnesComputeTheSame) {
  expect_same_when_eager<ef::AdamW<float>>(1, 0);
  expect_same_when_eager<ef::AdamW<float>>(1, 0, true);
  expect_same_when_eager<ef::Lamb<float>>(1, 0);
  expect_same_when_eager<ef::AdamW<float>>(2, 0);  // which wait for all parts,
  expect_same_when_eager<ef::AdamW<float>>(1, 1);  // or for the norm
}

TEST(Trainer, EagerOnesStopWhereAGradientIsNotFinite) {
  Model model(small());
  ef::TrainerOptions eager = options();
  eager.clip = 0;
  eager.eager = true;
  Trainer trainer(model, ef::AdamW<float>(), eager);
  ef::Context cx(1);
  const auto update = [&] {
    (void)trainer.step(cx, 1, [&](ef::Context& context, Index) {
      const ef::MaskedBatch masked = batch_of(0, 0);
      const auto logits = model(context, masked.batch, masked.positions);
      const auto loss = ef::cross_entropy(context, logits, masked.labels);
      return ef::PartLoss<float>{ef::scale(context, loss, 1e37f), 1e6};  // times that, infinite
    });
  };
  ef::tests::expect_parts(ef::tests::message_of<ef::Error>(update),
                          {"gradients of update 1", "not finite", "lm_head."});
}

TEST(Trainer, RefusesAStateOfAnotherModel) {
  Model model(small());
  Trainer trainer(model, ef::AdamW<float>(), options());
  (void)losses(trainer, model, 2, 1);
  const ef::tests::TemporaryFolder folder;
  trainer.save(folder.path());
  ef::RobertaConfig config = small();
  config.num_hidden_layers = 1;
  Model shallow(config);
  Trainer other(shallow, ef::AdamW<float>(), options());
  EXPECT_THROW(other.resume(folder.path()), ef::FormatError);
  config = small();
  config.intermediate_size = 24;
  Model wide(config);
  Trainer third(wide, ef::AdamW<float>(), options());
  EXPECT_THROW(third.resume(folder.path()), ef::FormatError);
  EXPECT_EQ(third.steps(), 0);
}

}  // namespace trainer_test
