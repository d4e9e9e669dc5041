// Fine-tuning for classes of texts, one or several of each, and for numbers. Mirrors transformers'
// run_glue.py and run_classification.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/training/metrics/glue.hpp"
#include "eigenformer/training/tasks/task.hpp"

namespace eigenformer {

/// What a text's label is.
enum class ClassificationKind : std::uint8_t {
  single_label,  ///< one class; metrics: accuracy, F1 of the second of two classes, else macro
  multi_label,   ///< classes with commas between them, or none; micro F1 first
  regression     ///< a number; the mean of Pearson's and Spearman's correlation first
};

/// Texts, or pairs of them, with classes or numbers, from tab-separated files.
template <class ScalarType>
class ClassificationTask {
 public:
  using Scalar = ScalarType;                                 ///< the model's arithmetic
  using Model = AutoModelForSequenceClassification<Scalar>;  ///< the head

  /// Reads both files and encodes their texts. Throws as reading them, and for a label that the
  /// first file does not have, fewer than two classes and a text too long, naming file and line.
  ClassificationTask(const Tokenizer& tokenizer, const EncoderConfig& config,
                     ClassificationKind kind, const TaskOptions& options,
                     ThreadPool* pool = nullptr)
      : kind_(kind), config_(config) {
    detail::check_max_length(options.max_length, config.max_tokens());
    const auto train = read_labelled_texts(options.train, options.columns);
    const auto dev = read_labelled_texts(options.dev, options.columns);
    std::vector<std::string> labels;
    for (const LabelledText& text : train) {
      for (std::string& label : labels_of(options.train, text)) labels.push_back(std::move(label));
    }
    if (kind == ClassificationKind::regression) labels = {"LABEL_0"};
    const detail::LabelNumbers numbers(options.train, std::move(labels), config);
    check<FormatError>(kind == ClassificationKind::regression || numbers.names().size() >= 2,
                       options.train, ": has ", numbers.names().size(),
                       " different labels; a classifier needs 2");
    config_ = numbers.with_labels(config);
    config_.problem_type = kind == ClassificationKind::single_label  ? "single_label_classification"
                           : kind == ClassificationKind::multi_label ? "multi_label_classification"
                                                                     : "regression";
    train_ = encoded(tokenizer, options.train, train, numbers, options.max_length, pool);
    dev_ = encoded(tokenizer, options.dev, dev, numbers, options.max_length, pool);
    check<FormatError>(kind != ClassificationKind::regression || dev.size() >= 2, options.dev,
                       ": holds one text; a correlation takes 2");
  }

  /// The model's, with the labels of the first file.
  [[nodiscard]] const EncoderConfig& config() const noexcept { return config_; }
  /// What is learned from.
  [[nodiscard]] const Batch& texts() const noexcept { return train_.batch; }

  /// A number that other texts and labels, in either file, hardly give.
  [[nodiscard]] std::uint64_t digest() const {
    Digest digest;
    for (const Texts* texts : {&train_, &dev_}) {
      detail::add_to(digest, texts->batch);
      digest.add_all(texts->classes);
      digest.add_all(
          std::span(texts->targets.data(), static_cast<std::size_t>(texts->targets.numel())));
    }
    return digest.value();
  }

  /// Of these texts.
  [[nodiscard]] PartLoss<Scalar> loss(Context& cx, const Model& model,
                                      std::span<const Index> which) const {
    return loss_of(cx, model, model(cx, detail::picked(train_.batch, which)), train_, which);
  }

  /// The official one first.
  [[nodiscard]] std::vector<std::string> metric_names() const {
    switch (kind_) {
      case ClassificationKind::single_label: return {"accuracy", "f1", "matthews_correlation"};
      case ClassificationKind::multi_label: return {"f1", "macro_f1", "accuracy"};
      case ClassificationKind::regression: break;
    }
    return {"pearson_spearman", "pearson", "spearman"};
  }

  /// On the second file.
  [[nodiscard]] Evaluation evaluate(Context& cx, const Model& model) const {
    MeanLoss loss;
    Tensor<Scalar> all(Shape{dev_.batch.segments(), config_.num_labels});
    detail::for_each_picked(dev_.batch, [&](std::span<const Index> which, const Batch& batch) {
      const Tensor<Scalar> logits = model(cx, batch);  // [texts, labels]
      loss.add(loss_of(cx, model, logits, dev_, which));
      all.rows(which.front(), which.back() + 1).copy_from(logits);
    });
    switch (kind_) {
      case ClassificationKind::single_label: return {loss.value(), single_label_metrics(all)};
      case ClassificationKind::multi_label: return {loss.value(), multi_label_metrics(all)};
      case ClassificationKind::regression: break;
    }
    return {loss.value(), regression_metrics(all)};
  }

 private:
  struct Texts {
    Batch batch;
    std::vector<TokenId> classes;  // [texts], where each has one
    Tensor<Scalar> targets;        // [texts, labels] else
  };

  /// The classes that a text is in; none for numbers.
  [[nodiscard]] std::vector<std::string> labels_of(const std::string& path,
                                                   const LabelledText& text) const {
    if (kind_ == ClassificationKind::regression) return {};
    const bool several = kind_ == ClassificationKind::multi_label;
    if (several && text.label.empty()) return {};
    std::vector<std::string> labels = {text.label};
    if (several) labels = detail::split_columns(text.label, ',');
    for (std::string& label : labels) {
      if (several) label = detail::trimmed(label);
      check<FormatError>(!label.empty(), path, " line ", text.line, ": has an empty label");
    }
    return labels;
  }

  Texts encoded(const Tokenizer& tokenizer, const std::string& path,
                const std::vector<LabelledText>& texts, const detail::LabelNumbers& numbers,
                Index max_length, ThreadPool* pool) const {
    std::vector<TextInput> inputs;
    for (const LabelledText& text : texts) inputs.push_back(text.input());
    Texts data;
    data.batch = tokenizer.encode_batch(std::span<const TextInput>(inputs),
                                        {.max_length = max_length, .return_overflow = false}, pool);
    data.targets = Tensor<Scalar>::zeros({data.batch.segments(), config_.num_labels});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto row = static_cast<Index>(i);
      const LabelledText& text = texts[i];
      detail::check_length(path, text.line, data.batch.segment(row).size(), config_.max_tokens());
      if (kind_ == ClassificationKind::regression) {
        data.targets.data()[i] = static_cast<Scalar>(label_as_number(path, text));
      }
      for (const std::string& label : labels_of(path, text)) {
        const TokenId id = numbers(path, text.line, label);
        data.targets.matrix()(row, id) = 1;
        if (kind_ == ClassificationKind::single_label) data.classes.push_back(id);
      }
    }
    return data;
  }

  PartLoss<Scalar> loss_of(Context& cx, const Model& model, const Tensor<Scalar>& logits,
                           const Texts& data, std::span<const Index> which) const {
    const auto count = static_cast<double>(which.size());
    if (kind_ == ClassificationKind::single_label) {
      std::vector<TokenId> classes;
      for (const Index i : which) classes.push_back(data.classes[static_cast<std::size_t>(i)]);
      return {model.loss(cx, logits, classes), count};
    }
    Tensor<Scalar> targets(logits.shape());
    for (Index row = 0; row < targets.size(0); ++row) {
      targets.matrix().row(row) = data.targets.matrix().row(which[static_cast<std::size_t>(row)]);
    }
    return {model.loss(cx, logits, targets), count};
  }

  [[nodiscard]] std::vector<double> single_label_metrics(const Tensor<Scalar>& logits) const {
    std::vector<TokenId> predicted;
    for (Index i = 0; i < logits.size(0); ++i) {
      predicted.emplace_back();
      logits.matrix().row(i).maxCoeff(&predicted.back());
    }
    const double f1 = config_.num_labels == 2 ? binary_scores(predicted, dev_.classes).f1
                                              : multiclass_scores(predicted, dev_.classes).macro.f1;
    return {accuracy(predicted, dev_.classes), f1, matthews_correlation(predicted, dev_.classes)};
  }

  /// A class is predicted where its logit is above 0. Accuracy is that of all classes of a text.
  [[nodiscard]] std::vector<double> multi_label_metrics(const Tensor<Scalar>& logits) const {
    std::map<Index, detail::ClassCounts> counts;
    Index right = 0;
    for (Index i = 0; i < logits.size(0); ++i) {
      bool all_right = true;
      for (Index label = 0; label < logits.size(1); ++label) {
        const bool predicted = logits.matrix()(i, label) > 0;
        const bool labelled = dev_.targets.matrix()(i, label) > 0;
        detail::ClassCounts& count = counts[label];
        count.predicted += predicted ? 1 : 0;
        count.labelled += labelled ? 1 : 0;
        count.correct += predicted && labelled ? 1 : 0;
        all_right = all_right && predicted == labelled;
      }
      right += all_right ? 1 : 0;
    }
    const ClassScores<Index> scores = detail::class_scores(counts);
    return {scores.micro.f1, scores.macro.f1, detail::ratio(right, logits.size(0))};
  }

  [[nodiscard]] std::vector<double> regression_metrics(const Tensor<Scalar>& numbers) const {
    const auto as_doubles = [](const Tensor<Scalar>& values) {
      return std::vector<double>(values.data(), values.data() + values.numel());
    };
    const PearsonAndSpearman scores =
        pearson_and_spearman(as_doubles(numbers), as_doubles(dev_.targets));
    return {scores.mean, scores.pearson, scores.spearman};
  }

  ClassificationKind kind_;
  EncoderConfig config_;
  Texts train_;
  Texts dev_;
};

}  // namespace eigenformer
