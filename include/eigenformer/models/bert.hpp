// BERT (Devlin et al., arXiv:1810.04805): the encoder with positions from 0, and its two tasks of
// pretraining, masked tokens and next sentences. SpanBERT's folders are BERT's (spanbert.hpp).
// Mirrors transformers/models/bert/modeling_bert.py.
#pragma once

#include <numeric>
#include <span>
#include <string_view>

#include "eigenformer/models/bert_config.hpp"
#include "eigenformer/models/encoder_model.hpp"
#include "eigenformer/models/language_model.hpp"
#include "eigenformer/models/pretrained_model.hpp"

namespace eigenformer {

/// Embeddings whose positions are 0, 1, 2, ... over each text.
template <class Scalar>
class BertEmbeddings : public EncoderEmbeddings<Scalar> {
 public:
  static constexpr std::string_view base = "bert";  ///< the encoder's name in checkpoints
  using EncoderEmbeddings<Scalar>::EncoderEmbeddings;

  /// `[tokens, hidden]`. Throws ShapeError for ids, types and texts beyond the tables.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    Tensor<TokenId> positions = cx.empty<TokenId>({batch.tokens()});
    for (Index i = 0; i < batch.segments(); ++i) {
      const RowRange text = batch.segment(i);
      std::iota(positions.data() + text.begin, positions.data() + text.end, 0);
    }
    return EncoderEmbeddings<Scalar>::operator()(
        cx, batch, std::span<const TokenId>(positions.data(), batch.ids.size()));
  }
};

/// BERT's encoder.
template <class Scalar>
using BertModel = EncoderModel<Scalar, BertEmbeddings>;

/// What BertForPreTraining computes.
template <class Scalar>
struct BertForPreTrainingOutput {
  Tensor<Scalar> prediction_logits;        ///< of the masked language model, `[tokens, vocab]`
  Tensor<Scalar> seq_relationship_logits;  ///< 0: it follows, 1: it does not, `[segments, 2]`
};

/// What BERT's heads have in common.
template <class Scalar, class Model>
class BertPreTrainedModel : public PreTrainedModel<Scalar, BertModel<Scalar>, Model> {
 public:
  /// The language models' head, with the activation of `hidden_act`.
  static constexpr LanguageModelHead lm_head = {.dense = "cls.predictions.transform.dense",
                                                .norm = "cls.predictions.transform.LayerNorm",
                                                .bias = "cls.predictions.bias",
                                                .decoder_weight = "cls.predictions.decoder.weight",
                                                .decoder_bias = "cls.predictions.decoder.bias"};
  using PreTrainingOutput = BertForPreTrainingOutput<Scalar>;  ///< of ForPreTraining
  static constexpr std::string_view pair_classifier = "cls.seq_relationship";  ///< and its layer

  /// The encoder below the head.
  [[nodiscard]] const BertModel<Scalar>& bert() const noexcept { return this->base_model(); }

 protected:
  using PreTrainedModel<Scalar, BertModel<Scalar>, Model>::PreTrainedModel;

  /// Labels of pairs.
  static Index pair_labels(const EncoderConfig&) { return 2; }
  /// The dropout before their layer.
  static double pair_dropout_prob(const EncoderConfig&) { return 0; }
  /// Of multiple choice.
  static double choice_dropout_prob(const EncoderConfig& config) {
    return config.classifier_dropout_prob();
  }
  /// Of question answering.
  static double answer_dropout_prob(const EncoderConfig&) { return 0; }
};

/// BERT's masked language model.
template <class Scalar>
using BertForMaskedLM = ForMaskedLM<Scalar, BertPreTrainedModel>;

/// BERT as it is pretrained: the masked language model, and whether the second text of a pair
/// follows the first.
template <class Scalar>
using BertForPreTraining = ForPreTraining<Scalar, BertPreTrainedModel>;

/// BERT that predicts the next token.
template <class Scalar>
class BertLMHeadModel
    : public CausalLanguageModel<Scalar, BertPreTrainedModel, BertLMHeadModel<Scalar>> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "LMHeadModel";
  using BertLMHeadModel::CausalLanguageModel::CausalLanguageModel;
};

/// BERT that says whether the second text of a pair follows the first, 0, or not, 1:
/// linear(pooler(h)), `[segments, 2]`.
template <class Scalar>
class BertForNextSentencePrediction
    : public BertPreTrainedModel<Scalar, BertForNextSentencePrediction<Scalar>> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForNextSentencePrediction";
  static constexpr bool reads_first_tokens = true;  ///< head() takes each text's first token

  /// A model with fresh weights. Throws ConfigError.
  explicit BertForNextSentencePrediction(const EncoderConfig& config)
      : BertForNextSentencePrediction(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  BertForNextSentencePrediction(const EncoderConfig& config, const Initializer& init)
      : BertForNextSentencePrediction::BertPreTrainedModel(config, /*pooler=*/true, init),
        seq_relationship_(config.hidden_size, 2, init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, 2]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    return seq_relationship_(cx, (*this->base_model().pooler())(cx, first));
  }

  /// Visits `cls.seq_relationship`.
  static void visit_head(auto& self, auto&& f) {
    f("cls.seq_relationship", self.seq_relationship_);
  }

 private:
  Linear<Scalar> seq_relationship_;  // [2, hidden]
};

}  // namespace eigenformer
