// The Transformer's encoder layer as BERT has it, with the norm after the residual:
//   y = norm(x + dropout(attention(x))),  z = norm(y + dropout(feed_forward(y))).
#pragma once

#include <optional>
#include <vector>

#include "eigenformer/autograd/ops/checkpoint.hpp"
#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/nn/attention.hpp"
#include "eigenformer/nn/feed_forward.hpp"
#include "eigenformer/nn/layer_norm.hpp"

namespace eigenformer {

/// Sizes and behaviour of an EncoderLayer.
struct EncoderLayerOptions {
  Index hidden = 0;                                 ///< columns in and out
  Index heads = 1;                                  ///< of the attention; must divide hidden
  Index intermediate = 0;                           ///< columns inside the feed-forward network
  Activation activation = Activation::gelu;         ///< of the feed-forward network
  double norm_eps = 1e-12;                          ///< of both norms; BERT's 1e-12
  double dropout = 0;                               ///< of both sub-layers' outputs
  std::optional<double> feed_forward_dropout = {};  ///< of the second one's; default `dropout`
  double attention_dropout = 0;                     ///< of the attention probabilities
  bool causal = false;                              ///< tokens see no later ones
  std::optional<double> attention_scale = {};       ///< of the scores; default 1 / sqrt(head size)
};

namespace detail {

/// layer(cx, x, sequences), of which the tape keeps x alone.
template <class Layer, class Scalar>
[[nodiscard]] Tensor<Scalar> recomputed(Context& cx, const Layer& layer, const Tensor<Scalar>& x,
                                        const Sequences& sequences) {
  const auto again = [&layer,
                      segments = std::vector(sequences.segments.begin(), sequences.segments.end()),
                      mask = std::vector(sequences.mask.begin(), sequences.mask.end())](
                         Context& on, const Tensor<Scalar>& in) {
    return layer(on, in, Sequences(segments, mask));
  };
  return checkpoint(cx, again, x);
}

}  // namespace detail

/// Names of the layer's parts in a file; the defaults are those of BERT and RoBERTa.
struct EncoderLayerNames {
  /// The attention's projections.
  MultiHeadAttentionNames attention = {"attention.self.query", "attention.self.key",
                                       "attention.self.value", "attention.output.dense"};
  std::string_view attention_norm = "attention.output.LayerNorm";  ///< the norm after the attention
  /// The feed-forward network's layers.
  FeedForwardNames feed_forward = {"intermediate.dense", "output.dense"};
  std::string_view output_norm = "output.LayerNorm";  ///< the norm that the layer ends with
};

/// One layer, `[tokens, hidden]` to `[tokens, hidden]`. Mirrors transformers' RobertaLayer.
template <class Scalar>
class EncoderLayer {
 public:
  /// Draws all weights. Throws ConfigError where the heads do not divide `hidden`.
  explicit EncoderLayer(const EncoderLayerOptions& options, const Initializer& init = {})
      : attention_({.hidden = options.hidden,
                    .heads = options.heads,
                    .dropout = options.attention_dropout,
                    .causal = options.causal,
                    .scale = options.attention_scale},
                   init),
        attention_norm_(options.hidden, options.norm_eps, init),
        feed_forward_({.hidden = options.hidden,
                       .intermediate = options.intermediate,
                       .activation = options.activation},
                      init),
        output_norm_(options.hidden, options.norm_eps, init),
        attention_dropout_(options.dropout),
        feed_forward_dropout_(options.feed_forward_dropout.value_or(options.dropout)) {}

  /// Tokens that inference works on at a time: however large a batch, what lies between x and z
  /// stays in cache, and takes no more memory.
  static constexpr Index tokens_at_once = 128;

  /// `probabilities`, unless null, gets the attention probabilities.
  [[nodiscard]] Tensor<Scalar> operator()(
      Context& cx, const Tensor<Scalar>& x, const Sequences& sequences = {},
      AttentionProbabilities<Scalar>* probabilities = nullptr) const {
    if (cx.tape != nullptr && cx.tape->recompute && probabilities == nullptr) {
      return detail::recomputed(cx, *this, x, sequences);
    }
    const bool infers = cx.tape == nullptr && cx.dropout == nullptr && probabilities == nullptr;
    if (!infers || x.rank() != 2 || x.size(0) <= tokens_at_once) {
      return rest(cx, attention_(cx, x, sequences, probabilities), x);
    }
    Tensor<Scalar> z = cx.empty<Scalar>(x.shape());  // [tokens, hidden]
    for_each_group(
        cx, sequences, x.size(0), tokens_at_once, [&](RowRange group, const Sequences& part) {
          const Tensor<Scalar> attended = attention_(cx, x.rows(group), part);  // [group, hidden]
          for (Index begin = 0; begin < group.size(); begin += tokens_at_once) {
            const Index end = std::min(begin + tokens_at_once, group.size());
            const RowRange rows{group.begin + begin, group.begin + end};
            rest(cx, attended.rows(begin, end), x.rows(rows), z.rows(rows));
          }
        });
    return z;
  }

  /// The same for some rows of x alone, in rising order: `[rows, hidden]`. What a last layer need
  /// not compute for the others is about three quarters of its work.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences,
                                          std::span<const Index> rows) const {
    return rest(cx, attention_(cx, x, sequences, rows), gather_rows(cx, x, rows));
  }

  /// Packs for inference; the inputs come from `norm`, unless null.
  void pack(ThreadPool& threads, Precision precision, const LayerNorm<Scalar>* norm = nullptr) {
    attention_.pack(threads, precision, norm);
    feed_forward_.pack(threads, precision, &attention_norm_);
  }
  /// The norm that the outputs come from.
  [[nodiscard]] const LayerNorm<Scalar>& output_norm() const noexcept { return output_norm_; }

  /// Visits attention, feed-forward network and the norm after each, under `names`.
  static void visit(auto& self, auto&& f, const EncoderLayerNames& names = {}) {
    MultiHeadAttention<Scalar>::visit(self.attention_, f, names.attention);
    f(names.attention_norm, self.attention_norm_);
    FeedForward<Scalar>::visit(self.feed_forward_, f, names.feed_forward);
    f(names.output_norm, self.output_norm_);
  }

 private:
  /// All after the attention, for rows of which `x` is what went into the layer; `into` as in
  /// layer_norm.
  Tensor<Scalar> rest(Context& cx, const Tensor<Scalar>& attended, const Tensor<Scalar>& x,
                      const Tensor<Scalar>& into = {}) const {
    const Tensor<Scalar> y = attention_norm_(cx, dropout(cx, attended, attention_dropout_), x);
    return output_norm_(cx, dropout(cx, feed_forward_(cx, y), feed_forward_dropout_), y, into);
  }

  MultiHeadAttention<Scalar> attention_;
  LayerNorm<Scalar> attention_norm_;
  FeedForward<Scalar> feed_forward_;
  LayerNorm<Scalar> output_norm_;
  double attention_dropout_;  // of its output
  double feed_forward_dropout_;
};

}  // namespace eigenformer
