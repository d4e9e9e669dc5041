// BERT's heads for tasks: labels of texts and of tokens, answers, choices.
// Mirrors transformers/models/bert/modeling_bert.py.
#pragma once

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// BERT for labels or scores of whole texts.
template <class Scalar>
using BertForSequenceClassification = ForPooledSequenceClassification<Scalar, BertPreTrainedModel>;

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
