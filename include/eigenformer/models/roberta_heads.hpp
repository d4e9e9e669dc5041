// RoBERTa's other heads: labels of texts and of tokens, answers, choices, the next token.
// Mirrors transformers/models/roberta/modeling_roberta.py.
#pragma once

#include <string_view>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// Labels or scores of whole texts, `[segments, labels]`:
/// out_proj(dropout(tanh(dense(dropout(h))))) of each text's first token.
template <class Scalar>
class RobertaForSequenceClassification
    : public SequenceClassificationModel<Scalar, RobertaPreTrainedModel,
                                         RobertaForSequenceClassification<Scalar>> {
 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit RobertaForSequenceClassification(const RobertaConfig& config)
      : RobertaForSequenceClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  RobertaForSequenceClassification(const RobertaConfig& config, const Initializer& init)
      : RobertaForSequenceClassification::SequenceClassificationModel(config, /*pooler=*/false,
                                                                      init),
        dense_(config.hidden_size, config.hidden_size, init),
        out_proj_(config.hidden_size, config.labels(), init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, labels]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const double p = this->config().classifier_dropout_prob();
    const Tensor<Scalar> x = dense_(cx, dropout(cx, first, p), Activation::tanh);
    return out_proj_(cx, dropout(cx, x, p));
  }

  /// Visits `classifier.dense` and `classifier.out_proj`.
  static void visit_head(auto& self, auto&& f) {
    f("classifier.dense", self.dense_);
    f("classifier.out_proj", self.out_proj_);
  }

 private:
  Linear<Scalar> dense_;
  Linear<Scalar> out_proj_;
};

/// RoBERTa for labels of tokens.
template <class Scalar>
using RobertaForTokenClassification = ForTokenClassification<Scalar, RobertaPreTrainedModel>;

/// RoBERTa for extractive question answering.
template <class Scalar>
using RobertaForQuestionAnswering = ForQuestionAnswering<Scalar, RobertaPreTrainedModel>;

/// RoBERTa for multiple choice.
template <class Scalar>
using RobertaForMultipleChoice = ForMultipleChoice<Scalar, RobertaPreTrainedModel>;

/// RoBERTa that predicts the next token.
template <class Scalar>
class RobertaForCausalLM
    : public CausalLanguageModel<Scalar, RobertaPreTrainedModel, RobertaForCausalLM<Scalar>> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForCausalLM";
  using RobertaForCausalLM::CausalLanguageModel::CausalLanguageModel;
};

}  // namespace eigenformer
