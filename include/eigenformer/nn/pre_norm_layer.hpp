// The Transformer's layer with the norms before the sub-layers, as GPT-2 has it (Xiong et al.,
// arXiv:2002.04745):
//   y = x + dropout(attention(norm(x))),  z = y + dropout(feed_forward(norm(y))).
#pragma once

#include <span>
#include <string_view>

#include "eigenformer/nn/encoder_layer.hpp"

namespace eigenformer {

/// Names of the layer's parts in a file; the defaults are GPT-2's.
struct PreNormLayerNames {
  std::string_view attention_norm = "ln_1";          ///< the norm before the attention
  std::string_view query_key_value = "attn.c_attn";  ///< the attention's projections, as one
  std::string_view output = "attn.c_proj";           ///< the layer that joins the heads
  std::string_view feed_forward_norm = "ln_2";       ///< the norm before the feed-forward network
  FeedForwardNames feed_forward = {"mlp.c_fc", "mlp.c_proj"};  ///< its layers
};

/// One layer, `[tokens, hidden]` to `[tokens, hidden]`. Mirrors transformers' GPT2Block.
template <class Scalar>
class PreNormLayer {
 public:
  /// Draws all weights. Throws ConfigError where the heads do not divide `hidden`.
  explicit PreNormLayer(const EncoderLayerOptions& options, const Initializer& init = {})
      : attention_norm_(options.hidden, options.norm_eps, init),
        attention_({.hidden = options.hidden,
                    .heads = options.heads,
                    .dropout = options.attention_dropout,
                    .causal = options.causal,
                    .scale = options.attention_scale},
                   init),
        feed_forward_norm_(options.hidden, options.norm_eps, init),
        feed_forward_({.hidden = options.hidden,
                       .intermediate = options.intermediate,
                       .activation = options.activation},
                      init),
        dropout_(options.dropout) {}

  /// `probabilities`, unless null, gets the attention probabilities.
  [[nodiscard]] Tensor<Scalar> operator()(
      Context& cx, const Tensor<Scalar>& x, const Sequences& sequences = {},
      AttentionProbabilities<Scalar>* probabilities = nullptr) const {
    if (cx.tape != nullptr && cx.tape->recompute && probabilities == nullptr) {
      return detail::recomputed(cx, *this, x, sequences);
    }
    return rest(cx, x, attention_(cx, attention_norm_(cx, x), sequences, probabilities));
  }

  /// The same for some rows of x alone, in rising order: `[rows, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences,
                                          std::span<const Index> rows) const {
    return rest(cx, gather_rows(cx, x, rows),
                attention_(cx, attention_norm_(cx, x), sequences, rows));
  }

  /// The same for texts that go on from what `cache` has of them, which gets what is new too.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences,
                                          KeyValueCache<Scalar>& cache) const {
    return rest(cx, x, attention_(cx, attention_norm_(cx, x), sequences, cache));
  }

  /// Packs for inference.
  void pack(ThreadPool& threads, Precision precision) {
    attention_.pack(threads, precision, &attention_norm_);
    feed_forward_.pack(threads, precision, &feed_forward_norm_);
  }

  /// Visits each norm and what comes after it, under `names`.
  static void visit(auto& self, auto&& f, const PreNormLayerNames& names = {}) {
    f(names.attention_norm, self.attention_norm_);
    MultiHeadAttention<Scalar>::visit_joint(self.attention_, f, names.query_key_value,
                                            names.output);
    f(names.feed_forward_norm, self.feed_forward_norm_);
    FeedForward<Scalar>::visit(self.feed_forward_, f, names.feed_forward);
  }

 private:
  /// All after the attention, for rows of which `x` is what went into the layer.
  Tensor<Scalar> rest(Context& cx, const Tensor<Scalar>& x, const Tensor<Scalar>& attended) const {
    const Tensor<Scalar> y = add(cx, x, dropout(cx, attended, dropout_));
    return add(cx, y, dropout(cx, feed_forward_(cx, feed_forward_norm_(cx, y)), dropout_));
  }

  LayerNorm<Scalar> attention_norm_;
  MultiHeadAttention<Scalar> attention_;
  LayerNorm<Scalar> feed_forward_norm_;
  FeedForward<Scalar> feed_forward_;
  double dropout_;
};

}  // namespace eigenformer
