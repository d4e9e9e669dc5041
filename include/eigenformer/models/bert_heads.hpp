// BERT's heads for tasks: labels of texts and of tokens, answers, choices.
// Mirrors transformers/models/bert/modeling_bert.py.
#pragma once

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// Labels or scores of whole texts, `[segments, labels]`: linear(dropout(pooler(h))).
template <class Scalar>
class BertForSequenceClassification
    : public SequenceClassificationModel<Scalar, BertPreTrainedModel,
                                         BertForSequenceClassification<Scalar>> {
 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit BertForSequenceClassification(const EncoderConfig& config)
      : BertForSequenceClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  BertForSequenceClassification(const EncoderConfig& config, const Initializer& init)
      : BertForSequenceClassification::SequenceClassificationModel(config, /*pooler=*/true, init),
        classifier_(config.hidden_size, config.labels(), init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, labels]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const Tensor<Scalar> pooled = (*this->base_model().pooler())(cx, first);  // [segments, hidden]
    return classifier_(cx, dropout(cx, pooled, this->config().classifier_dropout_prob()));
  }

  /// Visits `classifier`.
  static void visit_head(auto& self, auto&& f) { f("classifier", self.classifier_); }

 private:
  Linear<Scalar> classifier_;
};

/// BERT for labels of tokens.
template <class Scalar>
using BertForTokenClassification = ForTokenClassification<Scalar, BertPreTrainedModel>;

/// BERT for extractive question answering.
template <class Scalar>
using BertForQuestionAnswering = ForQuestionAnswering<Scalar, BertPreTrainedModel>;

/// BERT for multiple choice.
template <class Scalar>
using BertForMultipleChoice = ForMultipleChoice<Scalar, BertPreTrainedModel>;

}  // namespace eigenformer
