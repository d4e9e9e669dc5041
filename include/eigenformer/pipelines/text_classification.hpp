// Text classification: a text or a pair of texts goes in, labels with their scores come out.
// Mirrors transformers' TextClassificationPipeline.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/batches.hpp"
#include "eigenformer/pipelines/ranking.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// What makes scores of logits.
enum class ClassificationFunction : std::uint8_t {
  softmax,  ///< one label of several: probabilities that sum to 1
  sigmoid,  ///< each label for itself: a probability from 0 to 1
  none      ///< regression: the logits themselves
};

/// A label with its score.
struct LabelScore {
  std::string label;  ///< its name
  Index id = 0;       ///< its number among the labels
  double score = 0;   ///< a probability, or a logit
};

/// What text classification can be told.
struct TextClassificationOptions {
  Index top_k = 1;  ///< this many labels, the best first; 0: all
  /// Left out: as the model's configuration says, see BasicTextClassification::function.
  std::optional<ClassificationFunction> function_to_apply = {};
  Index max_length = 0;  ///< truncate to this many tokens; 0: a text too long is an error
  TruncationStrategy truncation = TruncationStrategy::longest_first;  ///< of pairs
  /// Texts go through the model together up to this many tokens; a longer one goes alone.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of texts that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A tokenizer and a model for sequence classification. Use one per thread; copies share the model.
/// `Classifier<Scalar>` is any model that has `from_pretrained(path, LoadOptions)`,
/// `operator()(cx, batch)` to `[texts, labels]`, and a `config()` with `num_labels`,
/// `problem_type`, `label(id)` and `max_tokens()`.
template <class Scalar, template <class> class Classifier = AutoModelForSequenceClassification>
class BasicTextClassification
    : public TextPipeline<Classifier<Scalar>, BasicTextClassification<Scalar, Classifier>> {
  using Base = typename BasicTextClassification::TextPipeline;

 public:
  using Base::Base;

  /// The labels of one text or pair, the best first, equal scores by the label's number. Throws
  /// ShapeError for a text that is longer than the model takes, and Error where a logit is not
  /// finite.
  [[nodiscard]] std::vector<LabelScore> operator()(const TextInput& input,
                                                   const TextClassificationOptions& options = {}) {
    return std::move((*this)(std::span(&input, 1), options).front());
  }
  /// The same for each of many.
  [[nodiscard]] std::vector<std::vector<LabelScore>> operator()(
      std::span<const TextInput> inputs, const TextClassificationOptions& options = {}) {
    return labelled(logits(inputs, options), options);
  }
  /// The same for a list in braces.
  [[nodiscard]] std::vector<std::vector<LabelScore>> operator()(
      std::initializer_list<TextInput> inputs, const TextClassificationOptions& options = {}) {
    return (*this)(std::span(inputs.begin(), inputs.size()), options);
  }
  /// The same for strings.
  [[nodiscard]] std::vector<std::vector<LabelScore>> operator()(
      std::span<const std::string> texts, const TextClassificationOptions& options = {}) {
    return (*this)(std::vector<TextInput>(texts.begin(), texts.end()), options);
  }
  /// The same for texts that are tokens already.
  [[nodiscard]] std::vector<std::vector<LabelScore>> operator()(
      const Batch& batch, const TextClassificationOptions& options = {}) {
    batch.validate();
    Tensor<Scalar> logits = empty_logits(batch.segments());
    for_each_part(batch, options.batch_tokens,
                  [&](const Batch& part, Index first) { classify(part, first, options, logits); });
    return labelled(logits, options);
  }

  /// The logits of texts and pairs, `[inputs, labels]`. Throws as operator().
  [[nodiscard]] Tensor<Scalar> logits(std::span<const TextInput> inputs,
                                      const TextClassificationOptions& options = {}) {
    Tensor<Scalar> logits = empty_logits(static_cast<Index>(inputs.size()));
    for_each_batch(*tokenizer_, inputs,
                   {.max_length = options.max_length, .strategy = options.truncation},
                   options.batch_tokens, context_.threads(),
                   [&](const Batch& part, Index first) { classify(part, first, options, logits); });
    return logits;
  }

  /// What `function` makes of logits `[rows, labels]`.
  [[nodiscard]] Tensor<Scalar> scores(const Tensor<Scalar>& logits,
                                      ClassificationFunction function) {
    switch (function) {
      case ClassificationFunction::softmax: return softmax(context_, logits);
      case ClassificationFunction::sigmoid:
        return logits.array().unaryExpr(
            [](Scalar x) { return Scalar(1) / (Scalar(1) + std::exp(-x)); });
      case ClassificationFunction::none: break;
    }
    return logits;
  }

  /// What makes scores of this model's logits where the options do not say. As in transformers:
  /// none where `problem_type` is regression; sigmoid where it is multi_label_classification or
  /// there is one label; else softmax. A `function_to_apply` in config.json has no effect there.
  [[nodiscard]] ClassificationFunction function() const {
    const auto& config = model_->config();
    if (config.problem_type == "regression") return ClassificationFunction::none;
    if (config.problem_type == "multi_label_classification" || config.num_labels == 1) {
      return ClassificationFunction::sigmoid;
    }
    return ClassificationFunction::softmax;
  }

 private:
  using Base::context_;
  using Base::model_;
  using Base::tokenizer_;

  [[nodiscard]] Tensor<Scalar> empty_logits(Index texts) const {
    return Tensor<Scalar>(Shape{texts, model_->config().num_labels});
  }

  /// Puts the logits of `batch` into the rows of `logits` from `first` on.
  void classify(const Batch& batch, Index first, const TextClassificationOptions& options,
                Tensor<Scalar>& logits) {
    const Index most = model_->config().max_tokens();
    for (Index i = 0; i < batch.segments(); ++i) {
      const Index size = batch.segment(i).size();
      check<ShapeError>(size <= most, "text_classification: text ", first + i, " has ", size,
                        " tokens but the model takes ", most, "; a max_length of ", most,
                        " truncates it");
    }
    const Tensor<Scalar> part = (*model_)(context_, batch);
    for (Index i = 0; i < batch.segments(); ++i) {
      check(part.matrix().row(i).allFinite(), "text_classification: the logits of text ", first + i,
            " are not finite; the model's weights are not, or overflow in this precision");
    }
    const Index end = first + batch.segments();
    logits.rows(first, end).copy_from(part);
    if (options.progress) options.progress(end, logits.size(0));
  }

  [[nodiscard]] std::vector<std::vector<LabelScore>> labelled(
      const Tensor<Scalar>& logits, const TextClassificationOptions& options) {
    check(options.top_k >= 0, "text_classification: top_k is ", options.top_k,
          "; it must be 1 or more, or 0 for all labels");
    const Tensor<Scalar> all = scores(logits, options.function_to_apply.value_or(function()));
    std::vector<std::vector<LabelScore>> labels(static_cast<std::size_t>(all.size(0)));
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const Scalar* const row = all.view().row(static_cast<Index>(i));
      for (const Index id : best_first(row, all.cols(), options.top_k)) {
        labels[i].push_back({model_->config().label(id), id, static_cast<double>(row[id])});
      }
    }
    return labels;
  }
};

/// Text classification in float, as most programs use it.
using TextClassification = BasicTextClassification<float>;

}  // namespace eigenformer
