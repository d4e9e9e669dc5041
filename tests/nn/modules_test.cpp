// Modules by themselves: any sizes, what they refuse, names, initial values, copies, freezing,
// dropout.
#include <algorithm>
#include <numeric>

#include "eigenformer/autograd/gradcheck.hpp"
#include "eigenformer/autograd/ops.hpp"
#include "eigenformer/nn.hpp"

#include "../messages.hpp"
#include "support.hpp"

namespace modules_test {

namespace ef = eigenformer;
using ef::Context;
using ef::Index;
using ef::ShapeError;
using ef::Tensor;
using ef::TokenId;
using ef::testing::close;
using ef::testing::Matrix;
using ef::tests::expect_parts;
using ef::tests::message_of;

template <class Scalar>
class Modules : public ::testing::Test {
 protected:
  static Matrix<Scalar> random(Index rows, Index cols, std::uint64_t stream = 0) {
    Matrix<Scalar> result(rows, cols);
    for (Index i = 0; i < result.size(); ++i) {
      result.data()[i] =
          static_cast<Scalar>(ef::Rng(8).normal(stream, static_cast<std::uint64_t>(i)));
    }
    return result;
  }
  /// Every parameter random, biases too.
  template <class Module>
  static void randomise(Module& module) {
    std::uint64_t stream = 100;
    for (const auto& named : ef::named_parameters(module)) {
      auto value = named.value();
      value.matrix() = random(value.row_count(), value.cols(), stream++);
    }
  }
  template <class Module>
  static std::vector<std::string> names(const Module& module) {
    std::vector<std::string> result;
    for (const auto& named : ef::named_parameters(module)) {
      result.push_back(std::string(named.name) + ' ' + named.shape().to_string());
    }
    return result;
  }
  template <class Module>
  static Index count_gradients(const Module& module, const ef::Gradients<Scalar>& gradients) {
    Index found = 0;
    for (const auto& named : ef::named_parameters(module)) {
      found += gradients.find(named.parameter.value()) != nullptr;
    }
    return found;
  }

  static constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-13 : 1e-5;
  Context cx{2};
};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Modules, Scalars);

const ef::EncoderLayerOptions small_layer{.hidden = 8, .heads = 2, .intermediate = 12};

TYPED_TEST(Modules, LinearOfAnySize) {
  using Scalar = TypeParam;
  for (const auto& [rows, in, out] : {std::array<Index, 3>{0, 3, 2},
                                      {3, 0, 2},
                                      {3, 2, 0},
                                      {1, 1, 1},
                                      {5, 7, 11},
                                      {65, 130, 67}}) {
    ef::Linear<Scalar> layer(in, out);
    this->randomise(layer);
    const auto x = this->random(rows, in);
    Matrix<Scalar> expected = Matrix<Scalar>::Zero(rows, out);
    if (in > 0) expected = x * layer.weight().value().matrix().transpose();
    if (out > 0) expected.rowwise() += layer.bias().value().matrix().row(0);
    EXPECT_TRUE(close(layer(this->cx, x), Tensor<Scalar>(expected), this->tolerance));
  }
  // Leading axes stay; one vector is one row.
  ef::Linear<Scalar> layer(7, 3);
  const Tensor<Scalar> x(this->random(6, 7));
  const auto y = layer(this->cx, x);
  EXPECT_TRUE(close(layer(this->cx, x.reshape({2, 3, 7})), y.reshape({2, 3, 3}), 0));
  const Eigen::Matrix<Scalar, Eigen::Dynamic, 1> row = x.matrix().row(2);
  EXPECT_TRUE(close(layer(this->cx, row), y.rows(2, 3).reshape({3}), this->tolerance));
  // A block of a larger matrix is read where it lies.
  const Tensor<Scalar> wide(this->random(6, 20));
  EXPECT_TRUE(close(layer(this->cx, wide.slice(1, 5, 12)),
                    layer(this->cx, wide.slice(1, 5, 12).clone()), this->tolerance));
}

TYPED_TEST(Modules, LayerNormOfAnySize) {
  using Scalar = TypeParam;
  for (const auto& [rows, n] : {std::pair<Index, Index>{0, 3}, {1, 1}, {5, 7}, {65, 130}}) {
    ef::LayerNorm<Scalar> norm(n, 1e-3);
    this->randomise(norm);
    const auto x = this->random(rows, n);
    std::vector<Tensor<Scalar>> parts;
    for (const auto& named : ef::named_parameters(norm)) parts.push_back(named.value());
    Matrix<Scalar> expected = x;
    for (Index i = 0; i < rows; ++i) {
      const auto centred = (x.row(i).array() - x.row(i).mean()).eval();
      const Scalar deviation = std::sqrt(centred.square().mean() + Scalar(1e-3));
      expected.row(i) = (centred / deviation) * parts[0].array().row(0) + parts[1].array().row(0);
    }
    EXPECT_TRUE(close(norm(this->cx, x), Tensor<Scalar>(expected), 4 * this->tolerance)) << n;
  }
}

TYPED_TEST(Modules, Embedding) {
  using Scalar = TypeParam;
  const ef::Embedding<Scalar> embedding(5, 4, 1);
  const auto& table = embedding.weight().value();
  EXPECT_TRUE((table.array().row(1) == 0).all());
  EXPECT_TRUE((table.array().row(0) != 0).all());
  const std::vector<TokenId> ids{4, 1, 0, 4};
  const auto rows = embedding(this->cx, ids);
  for (Index i = 0; i < 4; ++i) {
    EXPECT_TRUE((rows.array().row(i) == table.array().row(ids[static_cast<std::size_t>(i)])).all());
  }
  EXPECT_EQ(embedding(this->cx, {}).shape(), (ef::Shape{0, 4}));

  ef::Tape<Scalar> tape;
  this->cx.tape = &tape;
  const auto gradients = tape.backward(ef::sum(this->cx, embedding(this->cx, ids)));
  const auto& d = gradients[embedding.weight()];
  const Scalar expected[] = {1, 0, 0, 0, 2};  // the padding row gets none, a repeated row both
  for (Index i = 0; i < 5; ++i) EXPECT_TRUE((d.array().row(i) == expected[i]).all()) << i;

  expect_parts(message_of<ShapeError>([&] {
                 return embedding(this->cx, std::vector<TokenId>{0, 5});
               }),
               {"id 5", "position 1", "5 entries"});
  expect_parts(
      message_of<ShapeError>([&] { return embedding(this->cx, std::vector<TokenId>{-1}); }),
      {"id -1", "5 entries"});
  expect_parts(message_of<ShapeError>([] { return ef::Embedding<Scalar>(5, 4, 5); }), {"5 of 5"});
  expect_parts(message_of<ShapeError>([] { return ef::Embedding<Scalar>(5, 4, -2); }), {"-2 of 5"});
}

TYPED_TEST(Modules, ResidualRefersToOrHoldsItsModule) {
  using Scalar = TypeParam;
  const auto x = this->random(3, 4);
  ef::Linear<Scalar> layer(4, 4);
  const auto named = ef::Residual(layer);
  const auto held = ef::Residual(ef::Linear<Scalar>(layer));
  const auto expect_sum = [&](const auto& residual, const ef::Linear<Scalar>& inner) {
    const Matrix<Scalar> expected = x + Matrix<Scalar>(inner(this->cx, x).matrix());
    EXPECT_TRUE(close(residual(this->cx, x), Tensor<Scalar>(expected), 0));
  };
  const ef::Linear<Scalar> before = layer;
  expect_sum(named, layer);
  expect_sum(held, before);
  layer.weight().value().fill(3);
  expect_sum(named, layer);
  expect_sum(held, before);
  const ef::MultiHeadAttention<Scalar> attention({.hidden = 4, .heads = 2});
  const std::vector<Index> segments{0, 1, 3};
  EXPECT_EQ(ef::Residual(attention)(this->cx, x, ef::Sequences(segments)).shape(),
            (ef::Shape{3, 4}));
  const ef::Linear<Scalar> narrow(4, 3);
  expect_parts(message_of<ShapeError>([&] { return ef::Residual(narrow)(this->cx, x); }),
               {"[3, 4]", "[3, 3]"});
}

TYPED_TEST(Modules, FeedForward) {
  using Scalar = TypeParam;
  ef::FeedForward<Scalar> feed_forward(
      {.hidden = 3, .intermediate = 5, .activation = ef::Activation::relu});
  this->randomise(feed_forward);
  std::vector<Tensor<Scalar>> p;
  for (const auto& named : ef::named_parameters(feed_forward)) p.push_back(named.value());
  const auto x = this->random(4, 3);
  Matrix<Scalar> inner = x * p[0].matrix().transpose();
  inner.rowwise() += p[1].matrix().row(0);
  inner = inner.cwiseMax(Scalar(0)).eval();
  Matrix<Scalar> expected = inner * p[2].matrix().transpose();
  expected.rowwise() += p[3].matrix().row(0);
  EXPECT_TRUE(close(feed_forward(this->cx, x), Tensor<Scalar>(expected), this->tolerance));
}

TYPED_TEST(Modules, AttentionOfPackedTextsIsThatOfEachAlone) {
  using Scalar = TypeParam;
  ef::EncoderLayer<Scalar> layer(small_layer);
  this->randomise(layer);
  const auto x = this->random(9, 8);
  const std::vector<Index> segments{0, 2, 2, 9};
  const auto packed = layer(this->cx, x, ef::Sequences(segments));
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    const auto alone = layer(this->cx, x.middleRows(segments[i], segments[i + 1] - segments[i]));
    EXPECT_TRUE(close(alone, packed.rows(segments[i], segments[i + 1]), this->tolerance));
  }
  EXPECT_EQ(layer(this->cx, this->random(0, 8)).shape(), (ef::Shape{0, 8}));
}

TYPED_TEST(Modules, CrossAttentionWithoutOffsetsIsOneText) {
  using Scalar = TypeParam;
  ef::MultiHeadAttention<Scalar> attention({.hidden = 4, .heads = 2});
  this->randomise(attention);
  const auto x = this->random(3, 4, 1);
  const auto memory = this->random(5, 4, 2);
  const std::vector<Index> whole{0, 5};
  EXPECT_TRUE(close(attention(this->cx, x, {}, memory, {}),
                    attention(this->cx, x, {}, memory, ef::Sequences(whole)), 0));
  const std::vector<Index> two{0, 1, 3};
  expect_parts(message_of<ShapeError>([&] {
                 return attention(this->cx, x, ef::Sequences(two), this->random(3, 4), {});
               }),
               {"2 query segments", "1 key segments"});
}

TYPED_TEST(Modules, MismatchesNameBothSides) {
  using Scalar = TypeParam;
  const ef::Linear<Scalar> linear(4, 6);
  expect_parts(message_of<ShapeError>([&] { return linear(this->cx, this->random(3, 5)); }),
               {"[3, 5]", "[6, 4]"});
  const ef::LayerNorm<Scalar> norm(4);
  expect_parts(message_of<ShapeError>([&] { return norm(this->cx, this->random(3, 5)); }),
               {"[3, 5]", "[4]"});
  expect_parts(message_of<ShapeError>(
                   [&] { return norm(this->cx, this->random(3, 4), this->random(2, 4)); }),
               {"[3, 4]", "[2, 4]"});
  expect_parts(message_of<ef::ConfigError>(
                   [] { return ef::MultiHeadAttention<Scalar>({.hidden = 10, .heads = 3}); }),
               {"3 heads", "10"});
  expect_parts(
      message_of<ef::ConfigError>([] { return ef::MultiHeadAttention<Scalar>({.heads = 3}); }),
      {"3 heads", "hidden size 0"});
  expect_parts(message_of<ef::ConfigError>([] {
                 return ef::EncoderLayer<Scalar>({.hidden = 8, .heads = 0, .intermediate = 3});
               }),
               {"0 heads", "8"});
  const ef::EncoderLayer<Scalar> layer(small_layer);
  expect_parts(message_of<ShapeError>([&] { return layer(this->cx, this->random(3, 6)); }),
               {"[3, 6]", "[24, 8]"});
  const auto x = this->random(3, 8);
  const auto with = [&](std::vector<Index> segments, std::vector<std::uint8_t> mask = {}) {
    return layer(this->cx, x, ef::Sequences(segments, mask));
  };
  expect_parts(message_of<ShapeError>([&] { return with({0, 2}); }), {"0 to 3"});
  expect_parts(message_of<ShapeError>([&] { return with({1, 3}); }), {"0 to 3"});
  expect_parts(message_of<ShapeError>([&] { return with({0, 4, 3}); }), {"0 to 3"});
  expect_parts(message_of<ShapeError>([&] {
                 return with({}, {1, 1});
               }),
               {"2 mask values", "3 keys"});

  const auto attend = [&](Index q_rows, Index q_cols, Index k_rows, Index k_cols, Index v_rows,
                          Index v_cols, const ef::AttentionOptions& options) {
    return ef::scaled_dot_product_attention(this->cx, this->random(q_rows, q_cols),
                                            this->random(k_rows, k_cols),
                                            this->random(v_rows, v_cols), options);
  };
  expect_parts(message_of<ShapeError>([&] { return attend(3, 4, 3, 6, 3, 4, {.heads = 2}); }),
               {"[3, 6]", "[3, 4]"});
  expect_parts(message_of<ShapeError>([&] { return attend(3, 4, 3, 4, 2, 4, {.heads = 2}); }),
               {"[3, 4]", "[2, 4]"});
  expect_parts(message_of<ShapeError>([&] { return attend(3, 4, 3, 4, 3, 5, {.heads = 2}); }),
               {"2 heads", "[3, 5]"});
  expect_parts(message_of<ShapeError>([&] { return attend(3, 4, 3, 4, 3, 4, {.heads = -1}); }),
               {"-1 heads", "[3, 4]"});
  expect_parts(message_of<ef::Error>([&] { return attend(3, 4, 3, 4, 3, 4, {.dropout = 1}); }),
               {"1"});
  const ef::EncoderLayer<Scalar> wet({.hidden = 8, .heads = 2, .intermediate = 12, .dropout = 1.5});
  expect_parts(message_of<ef::Error>([&] { return wet(this->cx, x); }), {"1.5", "[0, 1)"});
}

TYPED_TEST(Modules, AModuleWithoutNumbersSaysSo) {
  using Scalar = TypeParam;
  const auto none = ef::Initializer::none();
  const ef::Linear<Scalar> linear(4, 6, none);
  EXPECT_FALSE(linear.weight().defined());
  EXPECT_EQ(ef::parameter_count(linear), 30);
  expect_parts(message_of<ef::Error>([&] { return linear(this->cx, this->random(3, 4)); }),
               {"no numbers"});
  const ef::Embedding<Scalar> embedding(5, 4, 1, none);
  expect_parts(message_of<ef::Error>([&] { return embedding(this->cx, std::vector<TokenId>{0}); }),
               {"[5, 4]", "no numbers"});
  ef::Linear<Scalar> assigned(4, 6, none);
  expect_parts(
      message_of<ShapeError>([&] { assigned.weight().assign(Tensor<Scalar>(this->random(4, 6))); }),
      {"[4, 6]", "[6, 4]"});
}

TYPED_TEST(Modules, ATapeRefusesToWatchNothing) {
  ef::Tape<TypeParam> tape;
  expect_parts(message_of<ef::Error>([&] { return tape.watch(Tensor<TypeParam>()); }),
               {"without numbers"});
}

TYPED_TEST(Modules, InitialValues) {
  using Scalar = TypeParam;
  const ef::Initializer init(7);
  const ef::Linear<Scalar> first(200, 300, init);
  const ef::Linear<Scalar> second(200, 300, init);
  const auto& weight = first.weight().value();
  EXPECT_NEAR(weight.array().mean(), 0, 4 * 0.02 / std::sqrt(60000.0));
  EXPECT_NEAR(std::sqrt(weight.array().square().mean()), 0.02, 4 * 0.02 / std::sqrt(120000.0));
  EXPECT_TRUE((first.bias().value().array() == 0).all());
  EXPECT_FALSE((weight.array() == second.weight().value().array()).any());

  const ef::Initializer again(7);
  EXPECT_TRUE(close(ef::Linear<Scalar>(200, 300, again).weight().value(), weight, 0));
  EXPECT_TRUE(
      close(ef::Linear<Scalar>(200, 300, again).weight().value(), second.weight().value(), 0));
  const ef::Initializer other(8, 1.0);
  const ef::Linear<Scalar> wide(200, 300, other);
  EXPECT_NEAR(std::sqrt(wide.weight().value().array().square().mean()), 1, 0.02);

  const ef::LayerNorm<Scalar> norm(5);
  for (const auto& named : ef::named_parameters(norm)) {
    EXPECT_TRUE((named.value().array() == Scalar(named.name == "weight")).all()) << named.name;
  }
  // Two modules made without an initializer are not the same either.
  EXPECT_FALSE(close(ef::Linear<Scalar>(4, 4).weight().value(),
                     ef::Linear<Scalar>(4, 4).weight().value(), 1e-6));
}

TYPED_TEST(Modules, NamesAreThoseOfHuggingFace) {
  using Scalar = TypeParam;
  const ef::EncoderLayer<Scalar> layer(small_layer);
  EXPECT_EQ(this->names(layer), (std::vector<std::string>{
                                    "attention.self.query.weight [8, 8]",
                                    "attention.self.query.bias [8]",
                                    "attention.self.key.weight [8, 8]",
                                    "attention.self.key.bias [8]",
                                    "attention.self.value.weight [8, 8]",
                                    "attention.self.value.bias [8]",
                                    "attention.output.dense.weight [8, 8]",
                                    "attention.output.dense.bias [8]",
                                    "attention.output.LayerNorm.weight [8]",
                                    "attention.output.LayerNorm.bias [8]",
                                    "intermediate.dense.weight [12, 8]",
                                    "intermediate.dense.bias [12]",
                                    "output.dense.weight [8, 12]",
                                    "output.dense.bias [8]",
                                    "output.LayerNorm.weight [8]",
                                    "output.LayerNorm.bias [8]",
                                }));
  EXPECT_EQ(ef::parameter_count(layer), 4 * (64 + 8) + 2 * 96 + 12 + 8 + 4 * 8);
  EXPECT_EQ(this->names(ef::Embedding<Scalar>(5, 4)), (std::vector<std::string>{"weight [5, 4]"}));
  EXPECT_EQ(ef::parameter_count(ef::FeedForward<Scalar>({.hidden = 3, .intermediate = 5})), 38);
}

TYPED_TEST(Modules, ACopyIsAModelOfItsOwn) {
  using Scalar = TypeParam;
  ef::EncoderLayer<Scalar> layer(small_layer);
  this->randomise(layer);
  const auto x = this->random(3, 8);
  const auto before = layer(this->cx, x);
  const ef::EncoderLayer<Scalar> copy = layer;
  for (const auto& named : ef::named_parameters(layer)) named.value().fill(0);
  EXPECT_TRUE(close(copy(this->cx, x), before, 0));
  EXPECT_TRUE((layer(this->cx, x).array() == 0).all());
  layer = copy;
  EXPECT_TRUE(close(layer(this->cx, x), before, 0));
  const ef::EncoderLayer<Scalar> moved = std::move(layer);
  EXPECT_TRUE(close(moved(this->cx, x), before, 0));
  expect_parts(message_of<ef::Error>([&] { return layer(this->cx, x); }),
               {"no numbers"});  // NOLINT: moved
}

TYPED_TEST(Modules, FrozenParametersGetNoGradient) {
  using Scalar = TypeParam;
  ef::EncoderLayer<Scalar> layer(small_layer);
  this->randomise(layer);
  const auto x = this->random(3, 8);
  const auto backward = [&] {
    ef::Tape<Scalar> tape;
    this->cx.tape = &tape;
    const auto y = layer(this->cx, x);
    const auto gradients = tape.backward(ef::sum(this->cx, y));
    this->cx.tape = nullptr;
    return gradients;
  };
  EXPECT_EQ(this->count_gradients(layer, backward()), 16);
  for (const auto& named : ef::named_parameters(layer)) {
    if (named.name.substr(0, 9) == "attention") named.parameter.trainable = false;
  }
  const auto gradients = backward();
  EXPECT_EQ(this->count_gradients(layer, gradients), 6);
  EXPECT_EQ(gradients.size(), 6u);
  const ef::EncoderLayer<Scalar> copy = layer;
  for (const auto& named : ef::named_parameters(copy)) {
    EXPECT_EQ(named.parameter.trainable, named.name.substr(0, 9) != "attention");
  }
  for (const auto& named : ef::named_parameters(layer)) named.parameter.trainable = false;
  ef::Tape<Scalar> tape;
  this->cx.tape = &tape;
  const auto y = layer(this->cx, x);
  EXPECT_EQ(tape.size(), 0u);
  EXPECT_THROW((void)tape.backward(ef::sum(this->cx, y)), ef::NotDifferentiable);
}

TYPED_TEST(Modules, DropoutActsWithAGeneratorAlone) {
  using Scalar = TypeParam;
  const ef::Initializer init(3);
  ef::EncoderLayer<Scalar> dry(small_layer, init);
  ef::EncoderLayer<Scalar> wet(
      {.hidden = 8, .heads = 2, .intermediate = 12, .dropout = 0.5, .attention_dropout = 0.5});
  this->randomise(dry);
  this->randomise(wet);
  const auto x = this->random(6, 8);
  const auto y = dry(this->cx, x);
  EXPECT_TRUE(close(wet(this->cx, x), y, 0));
  const auto with_seed = [&](std::uint64_t seed, const ef::EncoderLayer<Scalar>& layer) {
    ef::DropoutGenerator generator(seed);
    this->cx.dropout = &generator;
    const auto dropped = layer(this->cx, x);
    this->cx.dropout = nullptr;
    return dropped;
  };
  EXPECT_TRUE(close(with_seed(1, dry), y, 0));
  EXPECT_FALSE(close(with_seed(1, wet), y, 1e-3));
  EXPECT_TRUE(close(with_seed(1, wet), with_seed(1, wet), 0));
  EXPECT_FALSE(close(with_seed(1, wet), with_seed(2, wet), 1e-3));
}

TEST(ModuleGradients, ThroughDropout) {
  ef::EncoderLayer<double> layer(
      {.hidden = 4, .heads = 2, .intermediate = 5, .dropout = 0.3, .attention_dropout = 0.3},
      ef::Initializer(3, 0.5));
  Context cx(1);
  const std::vector<Index> segments{0, 2, 5};
  const auto function = [&](Context& context, const std::vector<Tensor<double>>& in) {
    ef::DropoutGenerator generator(5);
    context.dropout = &generator;
    const auto y = layer(context, in[0], ef::Sequences(segments));
    context.dropout = nullptr;
    return ef::mean_squared_error(context, y, Tensor<double>::full({5, 4}, 0.1));
  };
  const ef::Linear<double> source(4, 5, ef::Initializer(9, 1.0));
  EXPECT_LT(ef::gradcheck(cx, function, {source.weight().value().clone()}), 1e-8);
}

// A gradient that arrives as part of a wider one has gaps between its rows.
TEST(ModuleGradients, ThroughColumnsOfAConcatenation) {
  Context cx(1);
  const ef::Linear<double> layer(4, 3, ef::Initializer(3, 0.5));
  const ef::Linear<double> last(7, 2, ef::Initializer(4, 0.5));
  const std::vector<Index> segments{0, 2, 5};
  const auto function = [&](Context& context, const std::vector<Tensor<double>>& in) {
    const auto padded = ef::to_padded<double>(context, in[0], segments);
    const std::vector<Tensor<double>> parts{in[0], layer(context, in[0], ef::Activation::gelu)};
    const auto wide = last(context, ef::concat_tensors<double>(context, 1, parts));
    return ef::add(context, ef::mean_squared_error(context, wide, Tensor<double>::zeros({5, 2})),
                   ef::mean_squared_error(context, padded, Tensor<double>::zeros({2, 3, 4})));
  };
  const ef::Linear<double> source(4, 5, ef::Initializer(9, 1.0));
  EXPECT_LT(ef::gradcheck(cx, function, {source.weight().value().clone()}), 1e-8);
}

TEST(ModuleGradients, OfAQueryThatSeesNothing) {
  Context cx(1);
  const std::vector<Index> segments{0, 2, 5};
  const std::vector<std::uint8_t> mask{0, 0, 1, 1, 1};
  const ef::MultiHeadAttention<double> attention({.hidden = 4, .heads = 2},
                                                 ef::Initializer(3, 1.0));
  const auto function = [&](Context& context, const std::vector<Tensor<double>>& in) {
    return ef::mean_squared_error(context, attention(context, in[0], ef::Sequences(segments, mask)),
                                  Tensor<double>::zeros({5, 4}));
  };
  const ef::Linear<double> source(4, 5, ef::Initializer(9, 1.0));
  EXPECT_LT(ef::gradcheck(cx, function, {source.weight().value().clone()}), 1e-8);
}

}  // namespace modules_test
