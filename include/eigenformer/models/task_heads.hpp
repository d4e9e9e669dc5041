// Heads that the families share: labels of texts and of tokens, answers, choices. Each has the
// weights, outputs and loss of transformers' class of the same name. `PreTrained<Scalar, Model>` is
// the family's PreTrainedModel, such as RobertaPreTrainedModel.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/autograd/ops/pointwise.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/models/pretrained_model.hpp"

namespace eigenformer {

/// What classes of labels or scores of whole texts share; `Model` brings the head.
template <class Scalar, template <class, class> class PreTrained, class Model>
class SequenceClassificationModel : public PreTrained<Scalar, Model> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForSequenceClassification";
  static constexpr bool reads_first_tokens = true;  ///< head() takes each text's first token

  /// Cross entropy with one label for each text. Throws ConfigError where `problem_type`, or a
  /// single label without it, asks for numbers.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits,
                                    std::span<const TokenId> labels) const {
    check<ConfigError>(problem(/*numbers=*/false) == "single_label_classification",
                       "loss: labels, but the problem_type is ", problem(false),
                       ", which takes a tensor of numbers");
    return cross_entropy(cx, logits, labels);
  }
  /// Mean squared error for regression, binary cross entropy for several labels, with targets
  /// `[segments, labels]`, or `[segments]` for a single one. Throws ConfigError where
  /// `problem_type` asks for labels.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits,
                                    const Tensor<Scalar>& targets) const {
    const std::string_view type = problem(/*numbers=*/true);
    check<ConfigError>(type != "single_label_classification", "loss: a tensor of numbers, but the ",
                       "problem_type is ", type, ", which takes labels");
    const Tensor<Scalar> target =
        this->config().num_labels == 1 ? targets.reshape(logits.shape()) : targets;
    return type == "regression" ? mean_squared_error(cx, logits, target)
                                : binary_cross_entropy(cx, logits, target);
  }

 protected:
  using PreTrained<Scalar, Model>::PreTrained;

 private:
  /// The problem_type, where it is not set as transformers guesses it.
  std::string_view problem(bool numbers) const {
    const EncoderConfig& config = this->config();
    if (config.problem_type.has_value()) return *config.problem_type;
    return config.num_labels == 1 ? "regression"
           : numbers              ? "multi_label_classification"
                                  : "single_label_classification";
  }
};

/// Labels or scores of whole texts, `[segments, labels]`:
/// out_proj(dropout(activation(dense(dropout(h))))) of each text's first token. The family's
/// PreTrainedModel says with which activation, classifier_activation.
template <class Scalar, template <class, class> class PreTrained>
class ForSequenceClassification
    : public SequenceClassificationModel<Scalar, PreTrained,
                                         ForSequenceClassification<Scalar, PreTrained>> {
  using Base = SequenceClassificationModel<Scalar, PreTrained, ForSequenceClassification>;

 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit ForSequenceClassification(const EncoderConfig& config)
      : ForSequenceClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForSequenceClassification(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/false, init),
        dense_(config.hidden_size, config.hidden_size, init),
        out_proj_(config.hidden_size, config.labels(), init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, labels]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const double p = this->config().classifier_dropout_prob();
    const Tensor<Scalar> x = dense_(cx, dropout(cx, first, p), Base::classifier_activation);
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

/// Labels or scores of whole texts, `[segments, labels]`, by linear(dropout(pooler(h))).
template <class Scalar, template <class, class> class PreTrained>
class ForPooledSequenceClassification
    : public SequenceClassificationModel<Scalar, PreTrained,
                                         ForPooledSequenceClassification<Scalar, PreTrained>> {
  using Base = SequenceClassificationModel<Scalar, PreTrained, ForPooledSequenceClassification>;

 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit ForPooledSequenceClassification(const EncoderConfig& config)
      : ForPooledSequenceClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForPooledSequenceClassification(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/true, init),
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

/// Labels of tokens, such as the kinds of names, `[tokens, labels]`: linear(dropout(h)).
template <class Scalar, template <class, class> class PreTrained>
class ForTokenClassification
    : public PreTrained<Scalar, ForTokenClassification<Scalar, PreTrained>> {
  using Base = PreTrained<Scalar, ForTokenClassification>;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForTokenClassification";

  /// A model with fresh weights. Throws ConfigError.
  explicit ForTokenClassification(const EncoderConfig& config)
      : ForTokenClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForTokenClassification(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/false, init),
        classifier_(config.hidden_size, config.labels(), init) {}

  /// Hidden states `[tokens, hidden]` to `[tokens, labels]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& hidden) const {
    return classifier_(cx, dropout(cx, hidden, this->config().classifier_dropout_prob()));
  }

  /// Visits `classifier`.
  static void visit_head(auto& self, auto&& f) { f("classifier", self.classifier_); }

 private:
  Linear<Scalar> classifier_;
};

/// Where an answer starts and ends: a score of each token, `[tokens]`.
template <class Scalar>
struct QuestionAnsweringOutput {
  Tensor<Scalar> start_logits;  ///< `[tokens]`
  Tensor<Scalar> end_logits;    ///< `[tokens]`
};

/// Extractive question answering: the two columns of linear(dropout(h)). Texts are pairs of a
/// question and what may hold its answer. The family's PreTrainedModel says with which probability,
/// answer_dropout_prob(config).
template <class Scalar, template <class, class> class PreTrained>
class ForQuestionAnswering : public PreTrained<Scalar, ForQuestionAnswering<Scalar, PreTrained>> {
  using Base = PreTrained<Scalar, ForQuestionAnswering>;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForQuestionAnswering";

  /// A model with fresh weights. Throws ConfigError, also where `num_labels` is not 2.
  explicit ForQuestionAnswering(const EncoderConfig& config)
      : ForQuestionAnswering(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForQuestionAnswering(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/false, init),
        qa_outputs_(config.hidden_size, 2, init),
        dropout_(Base::answer_dropout_prob(config)) {
    check<ConfigError>(config.num_labels == 2, "'num_labels' is ", config.num_labels,
                       "; question answering has 2, start and end");
  }

  /// Hidden states `[tokens, hidden]` to two scores of each token.
  [[nodiscard]] QuestionAnsweringOutput<Scalar> head(Context& cx,
                                                     const Tensor<Scalar>& hidden) const {
    const Tensor<Scalar> logits = qa_outputs_(cx, dropout(cx, hidden, dropout_));  // [tokens, 2]
    const Shape tokens{logits.size(0)};
    return {reshape(cx, slice(cx, logits, -1, 0, 1), tokens),
            reshape(cx, slice(cx, logits, -1, 1, 2), tokens)};
  }

  /// The mean of the cross entropies of starts and ends, positions within their text: one below 0
  /// counts as 0, one beyond the text does not count. Padding, which takes part in transformers'
  /// softmax, is not there. Throws ShapeError where no position counts.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const QuestionAnsweringOutput<Scalar>& outputs,
                                    const Batch& batch, std::span<const TokenId> starts,
                                    std::span<const TokenId> ends) const {
    const Tensor<Scalar> start = position_loss(cx, outputs.start_logits, batch, starts);
    const Tensor<Scalar> end = position_loss(cx, outputs.end_logits, batch, ends);
    return scale(cx, add(cx, start, end), Scalar(0.5));
  }

  /// Visits `qa_outputs`.
  static void visit_head(auto& self, auto&& f) { f("qa_outputs", self.qa_outputs_); }

 private:
  static Tensor<Scalar> position_loss(Context& cx, const Tensor<Scalar>& logits, const Batch& batch,
                                      std::span<const TokenId> positions) {
    check<ShapeError>(static_cast<Index>(positions.size()) == batch.segments(),
                      "loss: ", positions.size(), " positions for ", batch.segments(), " texts");
    Tensor<Scalar> sum;
    Index counted = 0;
    for (Index i = 0; i < batch.segments(); ++i) {
      const RowRange tokens = batch.segment(i);
      const TokenId position = std::max<TokenId>(positions[static_cast<std::size_t>(i)], 0);
      if (position >= tokens.size()) continue;
      const Tensor<Scalar> loss = cross_entropy(
          cx, reshape(cx, rows(cx, logits, tokens), {1, tokens.size()}), std::span(&position, 1));
      sum = counted++ == 0 ? loss : add(cx, sum, loss);
    }
    check<ShapeError>(counted > 0, "loss: all ", positions.size(), " positions are beyond their ",
                      "texts; the mean over none is undefined");
    return scale(cx, sum, Scalar(1) / static_cast<Scalar>(counted));
  }

  Linear<Scalar> qa_outputs_;  // [2, hidden]
  double dropout_;
};

/// What classes of multiple choice share: a score of each text; `Model` brings the head.
template <class Scalar, template <class, class> class PreTrained, class Model>
class MultipleChoiceModel : public PreTrained<Scalar, Model> {
  using Base = PreTrained<Scalar, Model>;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForMultipleChoice";
  static constexpr bool reads_first_tokens = true;  ///< head() takes each text's first token

  /// (cx, batch): the score of each text, `[segments, 1]`.
  using Base::operator();

  /// `[questions, choices]`: each question has `choices` texts in the batch, one after the other.
  /// Throws ShapeError where they do not come out even.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch, Index choices) const {
    check<ShapeError>(choices > 0 && batch.segments() % choices == 0,
                      "multiple choice: ", batch.segments(), " texts are no multiple of ", choices,
                      " choices");
    return reshape(cx, (*this)(cx, batch), {batch.segments() / choices, choices});
  }

 protected:
  using Base::Base;
};

/// Multiple choice by linear(dropout(pooler(h))). The family's PreTrainedModel says with which
/// probability, choice_dropout_prob(config).
template <class Scalar, template <class, class> class PreTrained>
class ForMultipleChoice
    : public MultipleChoiceModel<Scalar, PreTrained, ForMultipleChoice<Scalar, PreTrained>> {
  using Base = MultipleChoiceModel<Scalar, PreTrained, ForMultipleChoice>;

 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit ForMultipleChoice(const EncoderConfig& config)
      : ForMultipleChoice(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ForMultipleChoice(const EncoderConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/true, init), classifier_(config.hidden_size, 1, init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, 1]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const Tensor<Scalar> pooled = (*this->base_model().pooler())(cx, first);  // [segments, hidden]
    return classifier_(cx, dropout(cx, pooled, Base::choice_dropout_prob(this->config())));
  }

  /// Visits `classifier`.
  static void visit_head(auto& self, auto&& f) { f("classifier", self.classifier_); }

 private:
  Linear<Scalar> classifier_;
};

}  // namespace eigenformer
