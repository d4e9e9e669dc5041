// Language models: an encoder with a head that predicts tokens.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/models/pretrained_model.hpp"

namespace eigenformer {

/// Cross entropy of each token's logits `[tokens, vocab]` with the next one's label, within each
/// text. `labels` `[tokens]` are the batch's ids, or -100 for tokens that do not count. Throws
/// ShapeError.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> next_token_loss(Context& cx, const Tensor<Scalar>& logits,
                                             const Batch& batch, std::span<const TokenId> labels) {
  check<ShapeError>(labels.size() == batch.ids.size(), "loss: ", labels.size(), " labels for ",
                    batch.ids.size(), " tokens");
  const CrossEntropyOptions options;
  std::vector<TokenId> next(labels.size(), options.ignore_index);
  for (Index i = 0; i < batch.segments(); ++i) {
    const RowRange text = batch.segment(i);
    if (text.size() == 0) continue;
    std::copy(labels.begin() + text.begin + 1, labels.begin() + text.end,
              next.begin() + text.begin);
  }
  return cross_entropy(cx, logits, next, options);
}

/// How the language models of a family look.
struct LanguageModelHead {
  std::string_view dense;                     ///< names in a file: of the first layer,
  std::string_view norm;                      ///< the norm after it,
  std::string_view bias;                      ///< the bias of the logits,
  std::string_view decoder_weight;            ///< what multiplies the norm's output,
  std::string_view decoder_bias;              ///< and the bias again; empty: it has one name
  std::optional<Activation> activation = {};  ///< after the first layer; none: hidden_act
};

/// What the language models share: logits over the vocabulary, from hidden states h by
/// norm(activation(dense(h))) E^T + bias, where E are the word embeddings unless the checkpoint
/// unties it. Where `tie_word_embeddings` is true, the decoder is the word embeddings unless the
/// file holds another one, as in transformers 5. `PreTrained<Scalar, Model>` is the family's
/// PreTrainedModel and says how it looks: lm_head, a LanguageModelHead.
template <class Scalar, template <class, class> class PreTrained, class Model>
class LanguageModel : public PreTrained<Scalar, Model> {
  using Base = PreTrained<Scalar, Model>;
  using Loader = typename Base::PreTrainedModel;
  friend Loader;

 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit LanguageModel(const EncoderConfig& config)
      : LanguageModel(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  LanguageModel(const EncoderConfig& config, const Initializer& init)
      : LanguageModel(config, /*pooler=*/false, init) {}

  /// (cx, batch): logits of every token, `[tokens, vocab]`.
  using Base::operator();

  /// Logits of the tokens at `positions` (rows of the packed batch) alone, `[positions, vocab]`:
  /// the others never meet the vocabulary. Throws ShapeError for a position outside the batch.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> positions) const {
    if (!std::is_sorted(positions.begin(), positions.end())) {
      return head(cx, gather_rows(cx, base_model_(cx, batch), positions));
    }
    return head(cx, base_model_(cx, batch, positions));
  }

  /// Hidden states `[rows, hidden]` to logits `[rows, vocab]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& hidden) const {
    const Activation activation = Base::lm_head.activation.value_or(this->config().hidden_act);
    const Tensor<Scalar> transformed = norm_(cx, dense_(cx, hidden, activation));  // [rows, size]
    const Parameter<Scalar>& weight =
        decoder_weight_ ? *decoder_weight_ : base_model_.word_embeddings().weight();
    const Parameter<Scalar>& bias = decoder_bias_ ? *decoder_bias_ : *bias_;
    return linear(cx, transformed, weight, bias);
  }

  /// Visits the first layer, its norm, the bias and the decoder, tied or not.
  static void visit_head(auto& self, auto&& f) {
    f(Base::lm_head.dense, self.dense_);
    f(Base::lm_head.norm, self.norm_);
    f(Base::lm_head.bias, self.bias_);
    if (self.decoder_weight_)
      f(Base::lm_head.decoder_weight, *self.decoder_weight_);
    else
      f.tied(Base::lm_head.decoder_weight, self.base_model_.word_embeddings().weight());
    if (self.decoder_bias_)
      f(Base::lm_head.decoder_bias, *self.decoder_bias_);
    else if (two_biases())
      f.tied(Base::lm_head.decoder_bias, *self.bias_);
  }

 protected:
  /// The same with or without a pooler.
  LanguageModel(const EncoderConfig& config, bool pooler, const Initializer& init)
      : Base(config, pooler, init),
        dense_(config.hidden_size, base_model_.embedding_size(), init),
        norm_(base_model_.embedding_size(), config.layer_norm_eps, init),
        bias_(init.constant<Scalar>({config.vocab_size}, 0)) {
    if (!config.tie_word_embeddings) {
      decoder_weight_ = init.normal<Scalar>({config.vocab_size, base_model_.embedding_size()});
      if (two_biases()) decoder_bias_ = init.constant<Scalar>({config.vocab_size}, 0);
    }
  }

  using Base::base_model_;

  /// Word embeddings that are the decoder too keep their numbers.
  void pack_head(ThreadPool& threads, Precision precision) {
    dense_.pack(threads, precision);
    if (decoder_weight_) {
      pack_weight(threads, precision, *decoder_weight_, &norm_);
      decoder_weight_->release();
    } else {
      pack_weight(threads, precision, base_model_.word_embeddings().weight(), &norm_);
    }
  }

 private:
  /// Whether the decoder's bias is a name of its own, and where untied a parameter of its own.
  static constexpr bool two_biases() { return !Base::lm_head.decoder_bias.empty(); }

  /// The keys of a checkpoint in which a tied decoder may stand for what it is tied to.
  static CheckpointKeys keys_of(const EncoderConfig& config, const Checkpoint& checkpoint) {
    CheckpointKeys keys = Base::keys_of(config, checkpoint);
    if (config.tie_word_embeddings) {
      keys.substitute("embeddings.word_embeddings.weight", Base::lm_head.decoder_weight);
      if (two_biases()) keys.substitute(Base::lm_head.bias, Base::lm_head.decoder_bias);
    }
    return keys;
  }

  /// The decoder is tied or not as config.json and the names say.
  static Model unloaded(const EncoderConfig& config, const auto& keys) {
    Model model(config, Initializer::none());
    if (config.tie_word_embeddings) {
      if (keys.contains(Base::lm_head.decoder_weight)) {
        model.decoder_weight_.emplace(Shape{config.vocab_size, model.base_model_.embedding_size()});
      }
      if (two_biases() && keys.contains(Base::lm_head.decoder_bias)) {
        model.decoder_bias_.emplace(Shape{config.vocab_size});
      }
    } else if (two_biases() && !keys.contains(Base::lm_head.bias)) {
      model.bias_.reset();  // not asked for: an untied decoder does not use it
    }
    return model;
  }

  /// Drops a tied decoder of its own that equals what it would be tied to. An untied one leaves
  /// the first bias unused, but transformers expects it in a file.
  void finish_loading() {
    const auto equal = [](const Parameter<Scalar>& a, const Parameter<Scalar>& b) {
      return (a.value().array() == b.value().array()).all();
    };
    if (this->config().tie_word_embeddings) {
      if (decoder_weight_ && equal(*decoder_weight_, base_model_.word_embeddings().weight())) {
        decoder_weight_.reset();
      }
      if (decoder_bias_ && equal(*decoder_bias_, *bias_)) decoder_bias_.reset();
    }
    if (!bias_) bias_.emplace(Tensor<Scalar>::zeros({this->config().vocab_size}));
  }

  Linear<Scalar> dense_;
  LayerNorm<Scalar> norm_;
  std::optional<Parameter<Scalar>> bias_;            // [vocab]; not used by an untied decoder
  std::optional<Parameter<Scalar>> decoder_weight_;  // [vocab, size]; none: tied
  std::optional<Parameter<Scalar>> decoder_bias_;    // [vocab]; none: tied
};

/// The masked language model: which token stands at a mask.
template <class Scalar, template <class, class> class PreTrained>
class ForMaskedLM : public LanguageModel<Scalar, PreTrained, ForMaskedLM<Scalar, PreTrained>> {
  using Base = LanguageModel<Scalar, PreTrained, ForMaskedLM>;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForMaskedLM";
  using Base::Base;
};

/// A model as it is pretrained on pairs of texts: the masked language model, and labels of pairs by
/// linear(dropout(pooler(h))). The family's PreTrainedModel says what the two are called,
/// PreTrainingOutput, and how the second looks: pair_classifier, its name in a file;
/// pair_labels(config) and pair_dropout_prob(config).
template <class Scalar, template <class, class> class PreTrained>
class ForPreTraining
    : public LanguageModel<Scalar, PreTrained, ForPreTraining<Scalar, PreTrained>> {
  using Base = LanguageModel<Scalar, PreTrained, ForPreTraining>;
  using Loader = typename Base::PreTrainedModel;
  friend Loader;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForPreTraining";
  /// Logits of tokens, `[tokens, vocab]`, and of pairs, `[segments, labels]`.
  using Output = typename Base::PreTrainingOutput;

  /// A model with fresh weights. Throws ConfigError.
  explicit ForPreTraining(const EncoderConfig& config)
      : ForPreTraining(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForPreTraining(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/true, init),
        pair_classifier_(config.hidden_size, Base::pair_labels(config), init) {}

  /// Both logits of the batch. Throws ShapeError for an empty text.
  [[nodiscard]] Output operator()(Context& cx, const Batch& batch) const {
    return outputs(cx, batch, this->base_model()(cx, batch));
  }
  /// The same, where the masked language model's are of the tokens at `positions` alone.
  [[nodiscard]] Output operator()(Context& cx, const Batch& batch,
                                  std::span<const Index> positions) const {
    const Tensor<Scalar> hidden = this->base_model()(cx, batch);  // [tokens, hidden]
    return {this->head(cx, gather_rows(cx, hidden, positions)), pairs(cx, batch, hidden)};
  }
  /// The same from what the encoder made of it, `[tokens, hidden]`.
  [[nodiscard]] Output outputs(Context& cx, const Batch& batch,
                               const Tensor<Scalar>& hidden) const {
    return {this->head(cx, hidden), pairs(cx, batch, hidden)};
  }

  /// The sum of both cross entropies: with a label for each token, -100 for those that do not
  /// count, and with one for each text.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Output& outputs,
                                    std::span<const TokenId> labels,
                                    std::span<const TokenId> pair_labels) const {
    const auto& [of_tokens, of_pairs] = outputs;
    return add(cx, cross_entropy(cx, of_tokens, labels), cross_entropy(cx, of_pairs, pair_labels));
  }

  /// Visits the language model's head and the layer of pairs.
  static void visit_head(auto& self, auto&& f) {
    Base::visit_head(self, f);
    f(Base::pair_classifier, self.pair_classifier_);
  }

 private:
  Tensor<Scalar> pairs(Context& cx, const Batch& batch, const Tensor<Scalar>& hidden) const {
    const Tensor<Scalar> first = gather_rows(cx, hidden, first_tokens(batch));
    const Tensor<Scalar> pooled = (*this->base_model().pooler())(cx, first);  // [segments, hidden]
    return pair_classifier_(cx, dropout(cx, pooled, Base::pair_dropout_prob(this->config())));
  }

  void pack_head(ThreadPool& threads, Precision precision) {
    Base::pack_head(threads, precision);
    pair_classifier_.pack(threads, precision);
  }

  Linear<Scalar> pair_classifier_;  // [labels, hidden]
};

/// The language model that predicts the next token; its weights and outputs are those of the masked
/// language model. As in transformers, its attention is causal only where `is_decoder` is true.
template <class Scalar, template <class, class> class PreTrained, class Model>
class CausalLanguageModel : public LanguageModel<Scalar, PreTrained, Model> {
  using Base = LanguageModel<Scalar, PreTrained, Model>;

 public:
  using Base::Base;

  /// As next_token_loss.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits, const Batch& batch,
                                    std::span<const TokenId> labels) const {
    return next_token_loss(cx, logits, batch, labels);
  }
};

}  // namespace eigenformer
