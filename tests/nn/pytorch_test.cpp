// Modules against PyTorch's float64 results and gradients (tests/oracle/nn_fixtures.py), each alone
// on Eigen matrices.
#include <cmath>

#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/nn/encoder_layer.hpp"

#include "support.hpp"

namespace pytorch_test {

namespace ef = eigenformer;
using ef::Index;
using ef::Tensor;
using ef::testing::close;
using ef::testing::Fixture;
using ef::testing::tolerance;

template <class Scalar>
class PyTorch : public ::testing::Test {
 protected:
  ef::Context cx{2};
};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(PyTorch, Scalars);

ef::Activation activation_of(const std::string& name) {
  return ef::activation_from_name(name == "gelu_tanh" ? "gelu_new" : name);
}

/// sum(y * weight), recorded.
Tensor<double> weighted_sum(ef::Context& cx, const Tensor<double>& y, Tensor<double> weight) {
  const Index n = y.numel();
  return ef::sum(cx, ef::linear(cx, ef::reshape(cx, y, ef::Shape{1, n}), weight.reshape({1, n}),
                                Tensor<double>()));
}

/// Gradients of sum(forward(x) * loss_weight) for all parameters and the inputs, relative to the
/// largest of each.
template <class Module, class Forward>
void expect_gradients(const Fixture& fixture, const std::string& name, const Module& module,
                      const std::vector<std::string>& inputs, Forward&& forward) {
  ef::Context cx(2);
  ef::Tape<double> tape;
  cx.tape = &tape;
  std::vector<Tensor<double>> watched;
  for (const std::string& input : inputs) {
    watched.push_back(tape.watch(fixture.tensor<double>(input)));
  }
  const Tensor<double> y = forward(cx, watched);
  const auto gradients =
      tape.backward(weighted_sum(cx, y, fixture.tensor<double>(name + ".loss_weight")));
  const auto expect = [&](std::string_view what, const Tensor<double>& found) {
    const auto expected = fixture.tensor<double>(name + ".gradient." + std::string(what));
    EXPECT_TRUE(close(found, expected, 1e-12)) << name << ' ' << what;
    // Relative to what was expected, not to 1; key biases have none but rounding.
    if (expected.array().abs().maxCoeff() > 1e-6) {
      const auto difference = (found.array() - expected.array()).abs().maxCoeff();
      EXPECT_LE(difference, 1e-9 * expected.array().abs().maxCoeff()) << name << ' ' << what;
    }
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) expect(inputs[i], gradients[watched[i]]);
  Index seen = 0;
  for (const auto& named : ef::named_parameters(module)) {
    const Tensor<double>& all = gradients[named.parameter];
    expect(named.name, named.whole() ? all : all.rows(named.begin, named.end));
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

TYPED_TEST(PyTorch, Linear) {
  using Scalar = TypeParam;
  const Fixture fixture("linear");
  ef::Linear<Scalar> layer(5, 7);
  fixture.load(layer);
  const auto x = fixture.matrix<Scalar>("x");
  EXPECT_TRUE(close(layer(this->cx, x), fixture.tensor<Scalar>("y"), tolerance<Scalar>));
  for (const std::string name : {"gelu", "gelu_tanh", "relu", "silu", "tanh"}) {
    EXPECT_TRUE(close(layer(this->cx, x, activation_of(name)), fixture.tensor<Scalar>(name),
                      tolerance<Scalar>))
        << name;
  }
}

TYPED_TEST(PyTorch, LayerNorm) {
  using Scalar = TypeParam;
  const Fixture fixture("layer_norm");
  ef::LayerNorm<Scalar> norm(9);
  fixture.load(norm);
  const auto x = fixture.matrix<Scalar>("x");
  const auto residual = fixture.matrix<Scalar>("residual");
  EXPECT_TRUE(close(norm(this->cx, x), fixture.tensor<Scalar>("y"), tolerance<Scalar>));
  EXPECT_TRUE(
      close(norm(this->cx, x, residual), fixture.tensor<Scalar>("y_of_sum"), tolerance<Scalar>));
  EXPECT_TRUE(
      close(norm(this->cx, x + residual), fixture.tensor<Scalar>("y_of_sum"), tolerance<Scalar>));
}

TYPED_TEST(PyTorch, ScaledDotProductAttention) {
  using Scalar = TypeParam;
  const Fixture fixture("scaled_dot_product_attention");
  const auto q = fixture.matrix<Scalar>("q");
  const auto k = fixture.matrix<Scalar>("k");
  const auto v = fixture.matrix<Scalar>("v");
  const auto mask = fixture.mask("mask");
  const std::vector<Index> segments{0, 4, 7};
  const auto expect = [&](const char* name, const ef::AttentionOptions& options) {
    EXPECT_TRUE(close(ef::scaled_dot_product_attention(this->cx, q, k, v, options),
                      fixture.tensor<Scalar>(name), tolerance<Scalar>))
        << name;
  };
  expect("y", {.heads = 2, .segments = segments});
  expect("y_masked", {.heads = 2, .segments = segments, .key_mask = mask});
  expect("y_causal", {.heads = 2, .causal = true, .segments = segments});
  expect("y_causal_masked", {.heads = 2, .causal = true, .segments = segments, .key_mask = mask});
  expect("y_scaled", {.heads = 2, .segments = segments, .key_segments = segments, .scale = 0.2});
  // Texts one by one give the same as packed.
  for (const auto& [begin, count] : {std::pair<Index, Index>{0, 4}, {4, 3}}) {
    const auto y = ef::scaled_dot_product_attention(this->cx, q.middleRows(begin, count),
                                                    k.middleRows(begin, count),
                                                    v.middleRows(begin, count), {.heads = 2});
    EXPECT_TRUE(
        close(y, fixture.tensor<Scalar>("y").rows(begin, begin + count), tolerance<Scalar>));
  }
}

TYPED_TEST(PyTorch, MultiHeadAttention) {
  using Scalar = TypeParam;
  const Fixture fixture("multi_head_attention");
  const auto x = fixture.matrix<Scalar>("x");
  const auto memory = fixture.matrix<Scalar>("memory");
  const auto mask = fixture.mask("mask");
  const std::vector<Index> segments{0, 4, 5, 7};
  const std::vector<Index> memory_segments{0, 3, 8, 9};
  for (const std::string name : {"self", "masked", "causal", "cross"}) {
    ef::MultiHeadAttention<Scalar> attention({.hidden = 6, .heads = 3, .causal = name == "causal"});
    fixture.load(attention);
    const auto y = fixture.tensor<Scalar>(name + ".y");
    if (name == "cross") {
      EXPECT_TRUE(close(
          attention(this->cx, x, ef::Sequences(segments), memory, ef::Sequences(memory_segments)),
          y, tolerance<Scalar>));
      continue;
    }
    const ef::Sequences sequences =
        name == "masked" ? ef::Sequences(segments, mask) : ef::Sequences(segments);
    ef::AttentionProbabilities<Scalar> probabilities;
    EXPECT_TRUE(close(attention(this->cx, x, sequences, &probabilities), y, tolerance<Scalar>))
        << name;
    EXPECT_TRUE(close(attention(this->cx, x, sequences), y, tolerance<Scalar>)) << name;
    const auto expected = fixture.tensor<Scalar>(name + ".probabilities");
    ASSERT_EQ(probabilities.size(), 3u);
    Index at = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const Index n = segments[i + 1] - segments[i];
      EXPECT_TRUE(close(probabilities[i], expected.rows(at, at + 3 * n * n).reshape({3, n, n}),
                        tolerance<Scalar>));
      at += 3 * n * n;
    }
  }
}

TYPED_TEST(PyTorch, EncoderLayer) {
  using Scalar = TypeParam;
  const Fixture fixture("encoder_layer");
  ef::EncoderLayer<Scalar> layer({.hidden = 8, .heads = 2, .intermediate = 12, .norm_eps = 1e-5});
  fixture.load(layer);
  const auto x = fixture.matrix<Scalar>("x");
  const auto mask = fixture.mask("mask");
  const std::vector<Index> segments{0, 5, 6, 9};
  EXPECT_TRUE(close(layer(this->cx, x, ef::Sequences(segments)), fixture.tensor<Scalar>("plain.y"),
                    tolerance<Scalar>));
  EXPECT_TRUE(close(layer(this->cx, x, ef::Sequences(segments, mask)),
                    fixture.tensor<Scalar>("masked.y"), tolerance<Scalar>));
}

TEST(PyTorchGradients, MultiHeadAttention) {
  const Fixture fixture("multi_head_attention");
  const auto mask = fixture.mask("mask");
  const std::vector<Index> segments{0, 4, 5, 7};
  const std::vector<Index> memory_segments{0, 3, 8, 9};
  for (const std::string name : {"self", "masked", "causal"}) {
    ef::MultiHeadAttention<double> attention({.hidden = 6, .heads = 3, .causal = name == "causal"});
    fixture.load(attention);
    expect_gradients(fixture, name, attention, {"x"}, [&](ef::Context& cx, const auto& in) {
      return attention(cx, in[0],
                       name == "masked" ? ef::Sequences(segments, mask) : ef::Sequences(segments));
    });
  }
  ef::MultiHeadAttention<double> attention({.hidden = 6, .heads = 3});
  fixture.load(attention);
  expect_gradients(
      fixture, "cross", attention, {"x", "memory"}, [&](ef::Context& cx, const auto& in) {
        return attention(cx, in[0], ef::Sequences(segments), in[1], ef::Sequences(memory_segments));
      });
}

TEST(PyTorchGradients, EncoderLayer) {
  const Fixture fixture("encoder_layer");
  ef::EncoderLayer<double> layer({.hidden = 8, .heads = 2, .intermediate = 12, .norm_eps = 1e-5});
  fixture.load(layer);
  const auto mask = fixture.mask("mask");
  const std::vector<Index> segments{0, 5, 6, 9};
  for (const std::string name : {"plain", "masked"}) {
    expect_gradients(fixture, name, layer, {"x"}, [&](ef::Context& cx, const auto& in) {
      return layer(cx, in[0],
                   name == "masked" ? ef::Sequences(segments, mask) : ef::Sequences(segments));
    });
  }
}

}  // namespace pytorch_test
