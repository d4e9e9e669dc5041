// Zero-shot classification: a text and any labels go in, and each label's score comes out, by a
// model for natural language inference that judges whether the text entails "This example is
// LABEL." (Yin et al. 2019, arXiv:1909.00161). Mirrors transformers'
// ZeroShotClassificationPipeline.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/pipelines/text_classification.hpp"

namespace eigenformer {

/// What zero-shot classification can be told.
struct ZeroShotOptions {
  /// The sentence that is judged: `{}` stands for the label, `{{` and `}}` for braces.
  std::string hypothesis_template = "This example is {}.";
  /// false: probabilities over the labels, which sum to 1; true: each label's own, of being
  /// entailed rather than contradicted. A single label is always judged so.
  bool multi_label = false;
  /// A text loses tokens, the label never does, beyond this many together; 0: as many as the
  /// tokenizer's `model_max_length` says and the model takes.
  Index max_length = 0;
  /// Pairs of a text and a label go through the model together up to this many tokens.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of pairs that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A tokenizer and a model for natural language inference, as BasicTextClassification takes them;
/// its `config()` has `label2id` and `id2label` too. Use one per thread; copies share the model.
template <class Scalar, template <class> class Classifier = AutoModelForSequenceClassification>
class BasicZeroShotClassification {
 public:
  using Model = Classifier<Scalar>;  ///< the model in use

  /// Throws ConfigError where entailment is a label that the model does not have.
  BasicZeroShotClassification(std::shared_ptr<const Tokenizer> tokenizer,
                              std::shared_ptr<const Model> model, Context context = Context())
      : BasicZeroShotClassification(
            TextClassifier(std::move(tokenizer), std::move(model), std::move(context))) {}

  /// As BasicTextClassification::from_pretrained.
  [[nodiscard]] static BasicZeroShotClassification from_pretrained(
      const std::string& path, Context context = Context(),
      std::optional<Precision> precision = {}) {
    return BasicZeroShotClassification(
        TextClassifier::from_pretrained(path, std::move(context), precision));
  }

  /// All of `labels` with their scores for one text, the best first, of equal ones the later;
  /// LabelScore::id is the place in `labels`. Throws Error where there is no label or the template
  /// has no place for it, and ConfigError for a label that leaves no room for a text.
  [[nodiscard]] std::vector<LabelScore> operator()(std::string_view text,
                                                   const std::vector<std::string>& labels,
                                                   const ZeroShotOptions& options = {}) {
    return std::move(score(std::span<const std::string_view>(&text, 1), labels, options).front());
  }
  /// The same for each of many texts.
  /// The same for strings.
  [[nodiscard]] std::vector<std::vector<LabelScore>> operator()(
      std::span<const std::string> texts, const std::vector<std::string>& labels,
      const ZeroShotOptions& options = {}) {
    return score(texts, labels, options);
  }

  /// The number of the model's label that means entailment: the first by name in `label2id` that
  /// begins with "entail", in any case. Nothing where there is none: as in transformers the last
  /// label is then taken for it, which makes no sense of a model with other labels.
  [[nodiscard]] std::optional<Index> entailment_id() const noexcept { return entailment_; }

  /// The tokenizer in use.
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return classify_.tokenizer(); }
  /// The model in use.
  [[nodiscard]] const Model& model() const noexcept { return classify_.model(); }

 private:
  using TextClassifier = BasicTextClassification<Scalar, Classifier>;

  explicit BasicZeroShotClassification(TextClassifier classifier)
      : classify_(std::move(classifier)), entailment_(find_entailment(model().config())) {}

  static std::optional<Index> find_entailment(const auto& config) {
    const auto means_entailment = [](std::string_view name) {
      constexpr std::string_view start = "entail";
      return name.size() >= start.size() &&
             std::equal(start.begin(), start.end(), name.begin(), [](char wanted, char c) {
               return wanted == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
             });
    };
    std::optional<Index> found;
    for (const auto& [name, id] : config.label2id) {
      if (!found && means_entailment(name)) found = id;
    }
    if (config.label2id.empty()) {
      for (const auto& [id, name] : config.id2label) {
        if (!found && means_entailment(name)) found = id;
      }
    }
    check<ConfigError>(!found || (*found >= 0 && *found < config.num_labels),
                       "zero_shot: entailment is label ", found.value_or(0), " but the model has ",
                       config.num_labels, " labels, from 0");
    return found;
  }

  /// The template with the label in its place.
  static std::string hypothesis(std::string_view form, std::string_view label) {
    std::string text;
    int places = 0;
    bool braces_fit = true;
    for (std::size_t i = 0; i < form.size(); ++i) {
      const std::string_view two = form.substr(i, 2);
      if (form[i] != '{' && form[i] != '}') {
        text += form[i];
        continue;
      }
      if (two == "{}") {
        text += label;
        ++places;
      } else {
        text += form[i];
        braces_fit = braces_fit && two.size() == 2 && two[0] == two[1];
      }
      ++i;
    }
    check(braces_fit && places == 1, "zero_shot: the template '", detail::Printable{form},
          "' must have {} once, where the label goes; braces themselves are {{ and }}");
    return text;
  }

  template <class Text>
  std::vector<std::vector<LabelScore>> score(std::span<const Text> texts,
                                             const std::vector<std::string>& labels,
                                             const ZeroShotOptions& options) {
    check(!labels.empty(), "zero_shot: there are no candidate labels; give at least one");
    std::vector<std::string> hypotheses;
    for (const std::string& label : labels) {
      hypotheses.push_back(hypothesis(options.hypothesis_template, label));
    }
    std::vector<TextInput> pairs;
    for (const Text& text : texts) {
      for (const std::string& judged : hypotheses) pairs.emplace_back(text, judged);
    }
    const Index max_length = length_limit(options.max_length, tokenizer().model_max_length(),
                                          model().config().max_tokens());
    const Tensor<Scalar> logits =
        classify_.logits(pairs, {.max_length = max_length,
                                 .truncation = TruncationStrategy::only_first,
                                 .batch_tokens = options.batch_tokens,
                                 .progress = options.progress});  // [texts * labels, classes]
    const Tensor<Scalar> scores = scores_of(logits, labels.size(), options.multi_label);
    std::vector<std::vector<LabelScore>> scored(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      // As in transformers, of equal scores the later label comes first.
      const typename Tensor<Scalar>::Vector row =
          scores.matrix().row(static_cast<Index>(i)).reverse();
      for (const Index place : best_first(row.data(), row.size(), 0)) {
        const Index id = row.size() - 1 - place;
        scored[i].push_back(
            {labels[static_cast<std::size_t>(id)], id, static_cast<double>(row[place])});
      }
    }
    return scored;
  }

  /// `[texts, labels]`. The softmax over contradiction and entailment is the sigmoid of their
  /// difference.
  Tensor<Scalar> scores_of(const Tensor<Scalar>& logits, std::size_t labels, bool multi_label) {
    const Index last = logits.cols() - 1;
    const Index entailment = entailment_.value_or(last);
    const Index contradiction = entailment_ == 0 ? last : 0;
    Tensor<Scalar> x(Shape{logits.size(0)});
    x.vector() = logits.matrix().col(entailment);
    const bool each = multi_label || labels == 1;
    if (each) x.vector() -= logits.matrix().col(contradiction);
    const auto columns = static_cast<Index>(labels);
    return classify_.scores(
        x.reshape(Shape{logits.size(0) / columns, columns}),
        each ? ClassificationFunction::sigmoid : ClassificationFunction::softmax);
  }

  TextClassifier classify_;
  std::optional<Index> entailment_;
};

/// Zero-shot classification in float, as most programs use it.
using ZeroShotClassification = BasicZeroShotClassification<float>;

}  // namespace eigenformer
