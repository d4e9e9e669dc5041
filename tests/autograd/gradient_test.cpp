// Every operation's gradient against central differences in double.
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/autograd/gradcheck.hpp"
#include "eigenformer/autograd/ops.hpp"

namespace gradient_test {

namespace ef = eigenformer;
using ef::Context;
using ef::Index;
using T = ef::Tensor<double>;
using Inputs = std::vector<T>;

T random(const ef::Shape& shape, std::uint64_t stream) {
  T tensor(shape);
  const ef::Rng rng(11);
  for (Index i = 0; i < tensor.numel(); ++i) {
    tensor.data()[i] = rng.normal(stream, static_cast<std::uint64_t>(i));
  }
  return tensor;
}

/// A weighted sum, so that no gradient is uniform.
T weigh(Context& cx, const T& x) {
  return ef::sum(cx, ef::linear(cx, ef::reshape(cx, x, ef::Shape{1, x.numel()}),
                                random({1, x.numel()}, 99), T()));
}

template <class Function>
void expect_gradients(Function function, Inputs inputs, double tolerance = 1e-8) {
  Context cx(2);
  EXPECT_LT(ef::gradcheck(cx, function, std::move(inputs)), tolerance);
}

TEST(Gradient, LinearWithEveryActivation) {
  for (const auto activation :
       {ef::Activation::none, ef::Activation::gelu, ef::Activation::gelu_tanh, ef::Activation::relu,
        ef::Activation::silu, ef::Activation::tanh}) {
    expect_gradients(
        [&](Context& cx, const Inputs& in) {
          return weigh(cx, ef::linear(cx, in[0], in[1], in[2], activation));
        },
        {random({3, 5}, 1), random({4, 5}, 2), random({4}, 3)});
  }
}

TEST(Gradient, WhatIsComputedAgainIsReadByLaterOperations) {
  for (const auto activation : {ef::Activation::gelu, ef::Activation::none}) {
    expect_gradients(
        [&](Context& cx, const Inputs& in) {
          const T y = ef::layer_norm(cx, in[0], in[1], in[2], in[3], 1e-5);
          const T z = ef::linear(cx, y, in[4], in[5], activation);
          return weigh(cx, ef::add(cx, ef::linear(cx, z, in[6], T()), ef::scale(cx, y, 0.5)));
        },
        {random({3, 7}, 1), random({3, 7}, 2), random({7}, 3), random({7}, 4), random({4, 7}, 5),
         random({4}, 6), random({7, 4}, 7)});
  }
}

TEST(Gradient, OwnOperationsAreComputedAgain) {
  Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const T x = random({3, 4}, 1);
  const T weight = random({2, 4}, 2);
  int times = 0;
  const T watched = tape.watch(x);
  T doubled = ef::scale(cx, watched, 2.0);
  tape.recompute_by(doubled, [&times, x](Context&) {
    ++times;
    T again = x.clone();
    again.array() *= 2;
    return again;
  });
  const T y = ef::linear(cx, doubled, tape.watch(weight), T());
  const T expected = doubled.clone();
  doubled.fill(0);  // nobody reads it
  const auto gradients = tape.backward(ef::sum(cx, y));
  EXPECT_EQ(times, 1);
  const auto columns = expected.matrix().colwise().sum();
  EXPECT_TRUE(gradients[weight].matrix().row(0).isApprox(columns, 1e-14));
  EXPECT_TRUE(gradients[weight].matrix().row(1).isApprox(columns, 1e-14));
}

TEST(Gradient, CrossEntropyOverwritesNoLogitsThatAreStillThere) {
  const std::vector<ef::TokenId> labels{2, 0};
  Context cx(1);
  const auto gradient = [&](bool keep) {
    ef::Tape<double> tape;
    cx.tape = &tape;
    const T x = random({2, 3}, 1);
    T logits = ef::scale(cx, tape.watch(x), 3.0);
    const T before = logits.clone();
    const T loss = ef::cross_entropy<double>(cx, logits, labels);
    if (!keep) logits = T();
    const auto gradients = tape.backward(loss);
    if (keep) {
      EXPECT_TRUE(logits.array().isApprox(before.array(), 0));
    }
    return gradients[x].clone();
  };
  EXPECT_TRUE(gradient(true).array().isApprox(gradient(false).array(), 0));
}

TEST(Gradient, ProductsInBFloat16KeepRoundedOperands) {
  using F = ef::Tensor<float>;
  const auto rounded = [](const F& x) {
    F y = x.clone();
    for (Index i = 0; i < y.numel(); ++i) {
      y.data()[i] = static_cast<float>(ef::BFloat16(y.data()[i]));
    }
    return y;
  };
  const auto numbers = [](const ef::Shape& shape, std::uint64_t stream) {
    return F(random(shape, stream).array().cast<float>().matrix());
  };
  Context cx(2);
  const std::vector<Index> segments{0, 5, 11};
  const F weights = numbers({24, 1}, 9);
  const auto gradient = [&](const F& x, bool beside, ef::Precision precision) {
    ef::Tape<float> tape;
    cx.tape = &tape;
    cx.products = precision;
    const F leaf = tape.watch(x);
    const ef::AttentionOptions options{.heads = 2, .segments = segments};
    const auto part = [&](Index i) { return ef::slice(cx, leaf, -1, i * 24, (i + 1) * 24); };
    const F y = beside ? ef::self_attention(cx, leaf, options)
                       : ef::scaled_dot_product_attention(cx, part(0), part(1), part(2), options);
    cx.products = ef::Precision::full;
    // Constant weights, so that the gradient of y is the same whatever y is.
    const F loss = ef::sum(cx, ef::linear(cx, y, weights.reshape({1, 24}), F()));
    return tape.backward(loss)[x].clone();
  };
  const F x = numbers({11, 72}, 1);
  for (const bool beside : {true, false}) {
    const F kept_rounded = gradient(x, beside, ef::Precision::bf16);
    EXPECT_TRUE(kept_rounded.array().isApprox(
        gradient(rounded(x), beside, ef::Precision::full).array(), 0));
    EXPECT_FALSE(
        kept_rounded.array().isApprox(gradient(x, beside, ef::Precision::full).array(), 1e-5f));
  }
}

TEST(Gradient, LeavesAreTakenWhenNothingReadsThemAnyMore) {
  Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const T first = random({4, 3}, 1);
  const T second = random({5, 4}, 2);
  const T x = random({2, 3}, 3);
  const T once = ef::linear(cx, x, tape.watch(first), T(), ef::Activation::tanh);
  const T loss = ef::sum(cx, ef::linear(cx, once, tape.watch(second), T()));
  std::vector<const double*> order;
  std::vector<T> taken;
  tape.backward(loss, 1.0, [&](const T& leaf, const T& gradient) {
    order.push_back(leaf.data());
    taken.push_back(gradient.clone());
    T(leaf).fill(std::numeric_limits<double>::quiet_NaN());
  });
  EXPECT_EQ(order, (std::vector<const double*>{second.data(), first.data()}));
  for (const T& gradient : taken) EXPECT_TRUE(gradient.array().allFinite());
}

TEST(Gradient, Activate) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        return weigh(cx, ef::activate(cx, in[0], ef::Activation::gelu));
      },
      {random({3, 5}, 1)});
}

TEST(Gradient, LayerNormWithAndWithoutResidual) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        return weigh(cx, ef::layer_norm(cx, in[0], in[1], in[2], in[3], 1e-5));
      },
      {random({3, 7}, 1), random({3, 7}, 2), random({7}, 3), random({7}, 4)});
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        return weigh(cx, ef::layer_norm(cx, in[0], T(), in[1], in[2], 1e-5));
      },
      {random({3, 7}, 1), random({7}, 3), random({7}, 4)});
}

TEST(Gradient, EmbeddingSumAddsUpRepeatedRows) {
  const std::vector<ef::TokenId> ids{2, 0, 2, 1};
  const std::vector<ef::TokenId> types{0, 1, 1, 1};
  expect_gradients(
      [&](Context& cx, const Inputs& in) {
        return weigh(cx, ef::embedding_sum<double>(cx, {{in[0], ids}, {in[1], types}}));
      },
      {random({3, 4}, 1), random({2, 4}, 2)});
}

TEST(Gradient, EmbeddingSkipsThePaddingRow) {
  Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const T table = random({3, 4}, 1);
  const std::vector<ef::TokenId> ids{1, 2};
  const T loss = weigh(cx, ef::embedding_sum<double>(cx, {{tape.watch(table), ids, 1}}));
  const auto gradients = tape.backward(loss);
  EXPECT_TRUE(gradients[table].matrix().row(1).isZero(0));
  EXPECT_FALSE(gradients[table].matrix().row(2).isZero(0));
}

TEST(Gradient, AttentionOverSegmentsWithMask) {
  const std::vector<Index> segments{0, 3, 3, 5};
  const std::vector<std::uint8_t> mask{1, 0, 1, 1, 1};
  for (const bool causal : {false, true}) {
    expect_gradients(
        [&](Context& cx, const Inputs& in) {
          return weigh(cx,
                       ef::scaled_dot_product_attention(
                           cx, in[0], in[1], in[2],
                           {.heads = 2, .causal = causal, .segments = segments, .key_mask = mask}));
        },
        {random({5, 6}, 1), random({5, 6}, 2), random({5, 4}, 3)});
  }
}

TEST(Gradient, SelfAttentionOfOneMatrix) {
  const std::vector<Index> segments{0, 3, 3, 5};
  const std::vector<std::uint8_t> mask{1, 0, 1, 1, 1};
  const T projected = random({5, 18}, 1);
  const auto attend = [&](Context& cx, const T& x) {
    return ef::self_attention(cx, x, {.heads = 2, .segments = segments, .key_mask = mask});
  };
  expect_gradients([&](Context& cx, const Inputs& in) { return weigh(cx, attend(cx, in[0])); },
                   {projected});
  Context cx(1);
  const auto part = [&](Index i) { return projected.slice(1, 6 * i, 6 * (i + 1)); };
  const T apart = ef::scaled_dot_product_attention(
      cx, part(0), part(1), part(2), {.heads = 2, .segments = segments, .key_mask = mask});
  EXPECT_TRUE(attend(cx, projected).matrix() == apart.matrix());
  EXPECT_THROW((void)ef::self_attention(cx, random({5, 16}, 1), {}), ef::ShapeError);
}

TEST(Gradient, CrossAttention) {
  const std::vector<Index> queries{0, 1, 3};
  const std::vector<Index> keys{0, 4, 6};
  expect_gradients(
      [&](Context& cx, const Inputs& in) {
        return weigh(cx, ef::scaled_dot_product_attention(
                             cx, in[0], in[1], in[2],
                             {.heads = 2, .segments = queries, .key_segments = keys}));
      },
      {random({3, 4}, 1), random({6, 4}, 2), random({6, 8}, 3)});
}

TEST(Gradient, AttentionWithDropout) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        ef::DropoutGenerator generator(5);
        cx.dropout = &generator;
        T y = weigh(cx, ef::scaled_dot_product_attention(cx, in[0], in[1], in[2],
                                                         {.heads = 2, .dropout = 0.3}));
        cx.dropout = nullptr;
        return y;
      },
      {random({4, 4}, 1), random({4, 4}, 2), random({4, 4}, 3)});
}

TEST(Gradient, AttentionOnColumnSlices) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        const auto part = [&](Index i) { return ef::slice(cx, in[0], -1, 4 * i, 4 * i + 4); };
        return weigh(cx,
                     ef::scaled_dot_product_attention(cx, part(0), part(1), part(2), {.heads = 2}));
      },
      {random({5, 12}, 1)});
}

TEST(Gradient, DropoutKeepsItsPattern) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        ef::DropoutGenerator generator(5);
        cx.dropout = &generator;
        T y = weigh(cx, ef::dropout(cx, in[0], 0.4));
        cx.dropout = nullptr;
        return y;
      },
      {random({4, 5}, 1)});
}

TEST(Gradient, PointwiseAndRearranging) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        const T twice = ef::add(cx, in[0], ef::scale(cx, in[0], 3.0));
        return weigh(cx, ef::add(cx, twice, in[1]));
      },
      {random({2, 3}, 1), random({2, 3}, 2)});
  const std::vector<Index> positions{2, 0, 2};
  expect_gradients(
      [&](Context& cx, const Inputs& in) {
        return weigh(cx, ef::gather_rows<double>(cx, in[0], positions));
      },
      {random({3, 4}, 1)});
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        const Inputs parts{in[0], ef::slice(cx, in[1], 1, 1, 3)};
        return weigh(cx, ef::concat_tensors<double>(cx, 1, parts));
      },
      {random({3, 4}, 1), random({3, 4}, 2)});
}

TEST(Gradient, Reductions) {
  const std::vector<Index> segments{0, 2, 2, 5};
  expect_gradients(
      [&](Context& cx, const Inputs& in) {
        return weigh(cx, ef::segment_mean<double>(cx, in[0], segments));
      },
      {random({5, 3}, 1)});
  expect_gradients([](Context& cx, const Inputs& in) { return ef::mean(cx, in[0]); },
                   {random({5, 3}, 1)});
  expect_gradients([](Context& cx, const Inputs& in) { return weigh(cx, ef::softmax(cx, in[0])); },
                   {random({3, 5}, 1)});
  expect_gradients(
      [](Context& cx, const Inputs& in) { return weigh(cx, ef::l2_normalize(cx, in[0])); },
      {random({3, 5}, 1)});
}

TEST(Gradient, Losses) {
  const std::vector<ef::TokenId> labels{2, -100, 0};
  for (const double smoothing : {0.0, 0.1}) {
    expect_gradients(
        [&](Context& cx, const Inputs& in) {
          return ef::cross_entropy<double>(cx, in[0], labels, {.label_smoothing = smoothing});
        },
        {random({3, 4}, 1)});
    expect_gradients(
        [&](Context& cx, const Inputs& in) {
          return ef::cross_entropy<double>(
              cx, in[0], labels, {.label_smoothing = smoothing, .class_weights = {0.5, 1, 2, 0}});
        },
        {random({3, 4}, 1)});
  }
  const T target = T::full({3, 4}, 0.3);
  expect_gradients(
      [&](Context& cx, const Inputs& in) { return ef::mean_squared_error(cx, in[0], target); },
      {random({3, 4}, 1)});
  expect_gradients(
      [&](Context& cx, const Inputs& in) { return ef::binary_cross_entropy(cx, in[0], target); },
      {random({3, 4}, 1)});
}

TEST(Tape, RefusesWhatWouldBeSilentlyWrong) {
  Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const T x = tape.watch(random({4, 4}, 1));
  EXPECT_THROW((void)ef::sum(cx, x.rows(0, 2)), ef::NotDifferentiable);
  EXPECT_NO_THROW((void)ef::sum(cx, x.rows(0, 2).detach()));
  EXPECT_THROW((void)tape.backward(x), ef::ShapeError);
  EXPECT_THROW((void)tape.backward(ef::sum(cx, x.detach())), ef::NotDifferentiable);
  const T total = ef::sum(cx, x);
  EXPECT_NO_THROW((void)tape.backward(total));
  EXPECT_THROW((void)tape.backward(total), ef::NotDifferentiable);
  ef::Tape<double> other;
  cx.tape = &other;
  EXPECT_THROW((void)ef::sum(cx, x), ef::NotDifferentiable);
  ef::Tape<float> wrong_scalar;
  cx.tape = &wrong_scalar;
  EXPECT_THROW((void)ef::sum(cx, x), ef::NotDifferentiable);
}

TEST(Gradient, AddLowRank) {
  expect_gradients(
      [](Context& cx, const Inputs& in) {
        return weigh(
            cx, ef::add_low_rank(cx, in[0], {{{0, 2}, in[1], in[2]}, {{3, 6}, in[3], in[4]}}, 0.7));
      },
      {random({6, 4}, 1), random({2, 4}, 2), random({2, 2}, 3), random({2, 4}, 4),
       random({3, 2}, 5)});
}

TEST(Gradient, Checkpoint) {
  const T weight = random({5, 5}, 2);
  const auto twice = [&](Context& cx, const T& x) {
    return ef::linear(cx, ef::linear(cx, x, weight, T(), ef::Activation::gelu), weight, T());
  };
  expect_gradients(
      [&](Context& cx, const Inputs& in) {
        return weigh(cx, ef::add(cx, ef::checkpoint(cx, twice, in[0]), in[0]));
      },
      {random({3, 5}, 1)});
}

TEST(Tape, AComputedTensorStandsForALeaf) {
  Context cx(1);
  ef::Tape<double> tape;
  cx.tape = &tape;
  const T weight = random({2, 3}, 1);
  const T part = tape.watch(random({2, 3}, 2));
  EXPECT_FALSE(tape.substitutes(weight));
  EXPECT_THROW(tape.substitute(weight, part.detach()), ef::NotDifferentiable);
  EXPECT_THROW(tape.substitute(random({3, 3}, 3), part), ef::ShapeError);
  tape.substitute(weight, ef::scale(cx, part, 3.0));
  EXPECT_TRUE(tape.substitutes(weight));
  const T loss = ef::sum(cx, tape.watch(weight));
  EXPECT_EQ(loss.item(), ef::sum(cx, ef::scale(cx, part, 3.0)).item());
  const ef::Gradients<double> gradients = tape.backward(loss);
  EXPECT_EQ(gradients.find(weight), nullptr);
  EXPECT_TRUE((gradients[part].array() == 3).all());
}

TEST(Tape, ForwardIsTheSameWithAndWithout) {
  Context cx(2);
  const T x = random({5, 6}, 1);
  const T w = random({7, 6}, 2);
  const auto run = [&](const T& weight) {
    return ef::linear(cx, x, weight, T(), ef::Activation::gelu).detach();
  };
  const T plain = run(w);
  ef::Tape<double> tape;
  cx.tape = &tape;
  EXPECT_TRUE((run(tape.watch(w)).array() == plain.array()).all());
}

TEST(Dropout, ActsOnlyWithAGenerator) {
  Context cx(1);
  const T x = T::full({100, 100}, 1.0);
  EXPECT_EQ(ef::dropout(cx, x, 0.25).data(), x.data());
  ef::DropoutGenerator generator(3);
  cx.dropout = &generator;
  const T y = ef::dropout(cx, x, 0.25);
  EXPECT_NEAR(y.array().mean(), 1.0, 0.02);
  EXPECT_NEAR((y.array() == 0).cast<double>().mean(), 0.25, 0.02);
  EXPECT_FALSE((ef::dropout(cx, x, 0.25).array() == y.array()).all());
  EXPECT_THROW((void)ef::dropout(cx, x, 1.0), ef::Error);
}

}  // namespace gradient_test
