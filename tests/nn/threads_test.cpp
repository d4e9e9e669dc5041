// One const model used by several threads at once: bit-identical results, no data races.
#include <thread>

#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/nn.hpp"

#include "support.hpp"

namespace threads_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Tensor;

class Threads : public ::testing::Test {
 protected:
  Threads() : model({.hidden = 24, .heads = 3, .intermediate = 150}, ef::Initializer(3, 0.3)) {
    Tensor<float> numbers({70, 24});
    for (Index i = 0; i < numbers.numel(); ++i) {
      numbers.data()[i] = static_cast<float>(ef::Rng(8).normal(0, static_cast<std::uint64_t>(i)));
    }
    x = numbers;
  }

  struct Result {
    Tensor<float> inferred, y, dx, dweight;
    bool operator==(const Result& other) const {
      const auto same = [](const Tensor<float>& a, const Tensor<float>& b) {
        return a.shape() == b.shape() && (a.array() == b.array()).all();
      };
      return same(inferred, other.inferred) && same(y, other.y) && same(dx, other.dx) &&
             same(dweight, other.dweight);
    }
  };

  /// Inference, then forward and backward; the dropout pattern is a function of the seed.
  [[nodiscard]] Result run(ef::Context& cx, const ef::EncoderLayer<float>& layer) const {
    const Tensor<float> inferred = layer(cx, x, ef::Sequences(segments));
    ef::Tape<float> tape;
    ef::DropoutGenerator generator(4);
    cx.tape = &tape;
    cx.dropout = &generator;
    const Tensor<float> leaf = tape.watch(x);
    const Tensor<float> y = layer(cx, leaf, ef::Sequences(segments));
    const auto gradients = tape.backward(ef::mean(cx, ef::l2_normalize(cx, y)));
    cx.tape = nullptr;
    cx.dropout = nullptr;
    Result result{inferred, y.detach(), gradients[leaf], {}};
    for (const auto& named : ef::named_parameters(layer)) {
      if (named.name == "intermediate.dense.weight") result.dweight = gradients[named.parameter];
    }
    return result;
  }

  const ef::EncoderLayer<float> model;
  Tensor<float> x;
  std::vector<Index> segments{0, 3, 3, 20, 70};
};

TEST_F(Threads, OneModelInFourContexts) {
  ef::Context alone(1);
  const Result expected = run(alone, model);
  const ef::EncoderLayer<float> fresh = model;  // what is made at first use is made here
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      ef::Context cx(1 + i % 2);
      for (int repeat = 0; repeat < 3; ++repeat) {
        equal[static_cast<std::size_t>(i)] += run(cx, fresh) == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 3));
}

TEST_F(Threads, TwoContextsShareOnePool) {
  ef::Context alone(1);
  const Result expected = run(alone, model);
  const auto pool = std::make_shared<ef::ThreadPool>(3);
  const ef::MemoryPool memory;                  // shared as well
  const ef::EncoderLayer<float> fresh = model;  // what is made at first use is made here
  std::vector<std::thread> threads;
  std::vector<int> equal(2, 0);
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      ef::Context cx(pool, memory);
      for (int repeat = 0; repeat < 5; ++repeat) {
        equal[static_cast<std::size_t>(i)] += run(cx, fresh) == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(2, 5));
}

TEST_F(Threads, ResultsDoNotDependOnTheirNumber) {
  ef::Context one(1);
  const Result expected = run(one, model);
  for (const int threads : {2, 5}) {
    ef::Context cx(threads);
    EXPECT_TRUE(run(cx, model) == expected) << threads;
  }
}

}  // namespace threads_test
