// RoBERTa's other heads: labels of texts and of tokens, answers, choices, the next token.
// Mirrors transformers/models/roberta/modeling_roberta.py.
#pragma once

#include <string_view>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// RoBERTa for labels or scores of whole texts.
template <class Scalar>
using RobertaForSequenceClassification = ForSequenceClassification<Scalar, RobertaPreTrainedModel>;

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
