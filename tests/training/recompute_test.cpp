// Layers that keep their inputs alone give the same bits with less memory.
#include <cstring>
#include <fstream>

#include <gtest/gtest.h>

#include "eigenformer/autograd/ops.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/training/masking.hpp"
#include "eigenformer/training/trainer.hpp"

#include "../messages.hpp"

namespace recompute_test {

namespace ef = eigenformer;
using ef::Index;
using Model = ef::RobertaForMaskedLM<float>;

constexpr ef::TokenId vocabulary = 60;

ef::RobertaConfig config_of(Index hidden, Index layers) {
  ef::RobertaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = hidden;
  config.num_hidden_layers = layers;
  config.num_attention_heads = 4;
  config.intermediate_size = 4 * hidden;
  config.max_position_embeddings = 80;
  config.type_vocab_size = 1;
  return config;
}

ef::MaskedBatch texts(int count, Index longest) {
  const ef::Masking masking({.mask_token = vocabulary - 1, .vocab_size = vocabulary}, 5);
  ef::Draws draws(ef::Rng(6), 0);
  ef::MaskedBatch batch;
  for (int i = 0; i < count; ++i) {
    std::vector<ef::TokenId> text(static_cast<std::size_t>(longest - i % 3));
    for (auto& id : text) id = static_cast<ef::TokenId>(4 + draws.below(vocabulary - 5));
    masking.add(batch, text, 0, static_cast<std::uint64_t>(i));
  }
  return batch;
}

/// Bytes of this process in memory.
double resident() {
  long pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// Updates with dropout; calls after_forward() while the tape holds all that it keeps.
template <class Function>
std::vector<double> train(Model& model, int updates, const ef::MaskedBatch& masked, bool recompute,
                          Function&& after_forward) {
  ef::Context cx(1);
  ef::Trainer<float, Model> trainer(
      model, ef::AdamW<float>(),
      {.schedule = {.decay = ef::Decay::constant, .peak = 1e-2}, .recompute = recompute});
  std::vector<double> losses;
  for (int i = 0; i < updates; ++i) {
    const auto report = trainer.step(cx, 1, [&](ef::Context& on, Index) -> ef::PartLoss<float> {
      // The batch is gone when the layers are computed again.
      const ef::MaskedBatch own = masked;
      const auto loss = ef::cross_entropy(on, model(on, own.batch, own.positions), own.labels);
      after_forward();
      return {loss};
    });
    losses.push_back(report.loss);
  }
  return losses;
}

bool same_bits(const ef::Tensor<float>& a, const ef::Tensor<float>& b) {
  return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
}

TEST(Recompute, MakesTheSameBits) {
  const ef::MaskedBatch masked = texts(5, 17);
  Model kept(config_of(16, 3));
  Model again = kept;
  const auto expected = train(kept, 4, masked, false, [] {});
  EXPECT_EQ(train(again, 4, masked, true, [] {}), expected);
  EXPECT_NE(expected[0], expected[1]);
  std::vector<ef::Tensor<float>> values;
  for (const auto& named : ef::named_parameters(kept)) values.push_back(named.value());
  auto value = values.begin();
  for (const auto& named : ef::named_parameters(again)) {
    EXPECT_TRUE(same_bits(named.value(), *value++)) << named.name;
  }
}

TEST(Recompute, KeepsLessInMemory) {
  const ef::MaskedBatch masked = texts(32, 64);
  Model model(config_of(128, 12));
  double grown[2];
  for (const bool recompute : {true, false}) {  // the greedy one last
    const double before = resident();
    train(model, 1, masked, recompute, [&] { grown[recompute ? 1 : 0] = resident() - before; });
  }
  RecordProperty("kept_mib", std::to_string(grown[0] / 1048576));
  RecordProperty("recomputed_mib", std::to_string(grown[1] / 1048576));
  std::printf("12 layers after the forward pass: %.0f MiB, recomputed %.0f MiB\n",
              grown[0] / 1048576, grown[1] / 1048576);
  EXPECT_LT(grown[1], grown[0] / 2);
}

TEST(Recompute, ForgetsOneFunctionAlone) {
  const ef::Linear<double> first(4, 6, ef::Initializer(1, 0.5));
  const ef::Linear<double> second(6, 4, ef::Initializer(2, 0.5));
  const auto both = [&](ef::Context& cx, const ef::Tensor<double>& x) {
    return second(cx, ef::dropout(cx, first(cx, x, ef::Activation::gelu), 0.5));
  };
  const ef::Tensor<double> x = Eigen::MatrixXd::Random(5, 4);
  ef::Context cx(1);
  struct Result {
    ef::Gradients<double> gradients;
    std::size_t nodes;
    double next;  // what dropout is drawn after the function
  };
  const auto run = [&](bool forget) -> Result {
    ef::DropoutGenerator dropout(3);
    ef::Tape<double> tape;
    cx.tape = &tape;
    cx.dropout = &dropout;
    const auto in = tape.watch(x);
    const auto y = forget ? ef::checkpoint(cx, both, in) : both(cx, in);
    const auto loss = ef::sum(cx, ef::add(cx, ef::dropout(cx, y, 0.5), in));
    const double next = ef::dropout(cx, x, 0.9).array().sum();
    cx.tape = nullptr;
    cx.dropout = nullptr;
    return {tape.backward(loss), tape.size(), next};
  };
  const Result plain = run(false);
  const Result forgotten = run(true);
  EXPECT_LT(forgotten.nodes, plain.nodes);
  EXPECT_EQ(forgotten.next, plain.next);
  EXPECT_EQ(forgotten.gradients.size(), 5u);
  const auto expect_same = [&](const ef::Tensor<double>& leaf) {
    EXPECT_TRUE((forgotten.gradients[leaf].array() == plain.gradients[leaf].array()).all());
  };
  expect_same(x);
  for (const auto* layer : {&first, &second}) {
    expect_same(layer->weight().value());
    expect_same(layer->bias().value());
  }
  // Without a tape it is the function; of a constant, the parameters' gradients remain.
  EXPECT_TRUE((ef::checkpoint(cx, both, x).array() == both(cx, x).array()).all());
  ef::Tape<double> tape;
  cx.tape = &tape;
  const auto loss = ef::sum(cx, ef::checkpoint(cx, both, x));
  cx.tape = nullptr;
  EXPECT_EQ(tape.backward(loss).size(), 4u);
}

TEST(Recompute, RefusesTensorsOfTheTapeFromOutside) {
  ef::Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const ef::Tensor<double> x = Eigen::MatrixXd::Random(2, 2);
  const auto in = tape.watch(x);
  const auto other = ef::scale(cx, in, 2.0);
  const auto uses_other = [&](ef::Context& on, const ef::Tensor<double>& y) {
    return ef::add(on, y, other);
  };
  EXPECT_THROW((void)ef::checkpoint(cx, uses_other, in), ef::NotDifferentiable);
}

}  // namespace recompute_test
