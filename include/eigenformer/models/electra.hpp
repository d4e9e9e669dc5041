// ELECTRA (Clark et al., arXiv:2003.10555): BERT without pooler, with embeddings that may be
// smaller than its layers. A generator proposes tokens, a discriminator finds those that were
// replaced. Mirrors transformers/models/electra/modeling_electra.py.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// What ELECTRA's configurations say that they are.
struct ElectraFamily {
  static constexpr std::string_view model_type = "electra";  ///< as config.json has it
};

/// Fresh, it has the class defaults of transformers 5, which are those of
/// google/electra-small-discriminator.
using ElectraConfig = FamilyConfig<ElectraFamily>;

/// BERT's embeddings, of `embedding_size` numbers.
template <class Scalar>
class ElectraEmbeddings : public BertEmbeddings<Scalar> {
 public:
  static constexpr bool pools = false;                 ///< there is no pooler
  static constexpr std::string_view base = "electra";  ///< the encoder's name in checkpoints

  /// Draws the tables. Throws ConfigError.
  ElectraEmbeddings(const EncoderConfig& config, const Initializer& init)
      : BertEmbeddings<Scalar>(
            config, config.own_size("embedding_size", 128, EncoderConfig::max_features), init) {}
};

/// ELECTRA's encoder.
template <class Scalar>
using ElectraModel = EncoderModel<Scalar, ElectraEmbeddings>;

/// What ELECTRA's heads have in common.
template <class Scalar, class Model>
class ElectraPreTrainedModel : public PreTrainedModel<Scalar, ElectraModel<Scalar>, Model> {
 public:
  /// The generator's head: the activation is the exact GELU, whatever `hidden_act` says.
  static constexpr LanguageModelHead lm_head = {.dense = "generator_predictions.dense",
                                                .norm = "generator_predictions.LayerNorm",
                                                .bias = "generator_lm_head.bias",
                                                .decoder_weight = "generator_lm_head.weight",
                                                .decoder_bias = "",
                                                .activation = Activation::gelu};
  static constexpr Activation classifier_activation = Activation::gelu;  ///< of texts' labels

  /// The encoder below the head.
  [[nodiscard]] const ElectraModel<Scalar>& electra() const noexcept { return this->base_model(); }

 protected:
  using PreTrainedModel<Scalar, ElectraModel<Scalar>, Model>::PreTrainedModel;

  /// Of question answering.
  static double answer_dropout_prob(const EncoderConfig&) { return 0; }
};

/// ELECTRA's generator, a masked language model.
template <class Scalar>
using ElectraForMaskedLM = ForMaskedLM<Scalar, ElectraPreTrainedModel>;

/// ELECTRA for labels or scores of whole texts.
template <class Scalar>
using ElectraForSequenceClassification = ForSequenceClassification<Scalar, ElectraPreTrainedModel>;

/// ELECTRA for labels of tokens.
template <class Scalar>
using ElectraForTokenClassification = ForTokenClassification<Scalar, ElectraPreTrainedModel>;

/// ELECTRA for extractive question answering.
template <class Scalar>
using ElectraForQuestionAnswering = ForQuestionAnswering<Scalar, ElectraPreTrainedModel>;

/// ELECTRA's discriminator: a score of each token, above 0 where it was replaced:
/// dense_prediction(activation(dense(h))), `[tokens]`.
template <class Scalar>
class ElectraForPreTraining : public ElectraPreTrainedModel<Scalar, ElectraForPreTraining<Scalar>> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForPreTraining";

  /// A model with fresh weights. Throws ConfigError.
  explicit ElectraForPreTraining(const EncoderConfig& config)
      : ElectraForPreTraining(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ElectraForPreTraining(const EncoderConfig& config, const Initializer& init)
      : ElectraForPreTraining::ElectraPreTrainedModel(config, /*pooler=*/false, init),
        dense_(config.hidden_size, config.hidden_size, init),
        dense_prediction_(config.hidden_size, 1, init) {}

  /// Hidden states `[tokens, hidden]` to `[tokens]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& hidden) const {
    const Tensor<Scalar> x = dense_(cx, hidden, this->config().hidden_act);  // [tokens, hidden]
    return reshape(cx, dense_prediction_(cx, x), {hidden.size(0)});
  }

  /// Binary cross entropy with a label for each token: 1 for one that was replaced, 0 for others,
  /// -100 for those that do not count. Throws ShapeError.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits,
                                    std::span<const TokenId> labels) const {
    check<ShapeError>(static_cast<Index>(labels.size()) == logits.numel(), "loss: ", labels.size(),
                      " labels for ", logits.numel(), " tokens");
    std::vector<Index> counted;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == CrossEntropyOptions().ignore_index) continue;
      check<ShapeError>(labels[i] == 0 || labels[i] == 1, "loss: label ", labels[i],
                        "; a token was replaced, 1, or not, 0");
      counted.push_back(static_cast<Index>(i));
    }
    check<ShapeError>(!counted.empty(), "loss: none of ", labels.size(), " labels counts");
    Tensor<Scalar> targets({static_cast<Index>(counted.size()), 1});
    for (std::size_t i = 0; i < counted.size(); ++i) {
      targets.data()[i] = static_cast<Scalar>(labels[static_cast<std::size_t>(counted[i])]);
    }
    const Tensor<Scalar> column = reshape(cx, logits, {logits.numel(), 1});
    return binary_cross_entropy(cx, gather_rows(cx, column, counted), targets);
  }

  /// Visits the layers under `discriminator_predictions`.
  static void visit_head(auto& self, auto&& f) {
    f("discriminator_predictions.dense", self.dense_);
    f("discriminator_predictions.dense_prediction", self.dense_prediction_);
  }

 private:
  Linear<Scalar> dense_;
  Linear<Scalar> dense_prediction_;  // [1, hidden]
};

/// ELECTRA for multiple choice: classifier(dropout(activation(summary(dropout(h))))) of each text's
/// first token. Other summaries than that (summary_type "first") are refused.
template <class Scalar>
class ElectraForMultipleChoice
    : public MultipleChoiceModel<Scalar, ElectraPreTrainedModel, ElectraForMultipleChoice<Scalar>> {
 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit ElectraForMultipleChoice(const EncoderConfig& config)
      : ElectraForMultipleChoice(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  ElectraForMultipleChoice(const EncoderConfig& config, const Initializer& init)
      : ElectraForMultipleChoice::MultipleChoiceModel(config, /*pooler=*/false, init),
        activation_(summary_activation(config)),
        first_dropout_(config.own_probability("summary_first_dropout", 0)),
        last_dropout_(config.own_probability("summary_last_dropout", 0.1)),
        summary_(config.hidden_size, config.hidden_size, init),
        classifier_(config.hidden_size, 1, init) {}

  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, 1]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const Tensor<Scalar> x = summary_(cx, dropout(cx, first, first_dropout_), activation_);
    return classifier_(cx, dropout(cx, x, last_dropout_));
  }

  /// Visits `sequence_summary.summary` and `classifier`.
  static void visit_head(auto& self, auto&& f) {
    f("sequence_summary.summary", self.summary_);
    f("classifier", self.classifier_);
  }

 private:
  /// Throws ConfigError where config.json asks for another summary.
  static Activation summary_activation(const EncoderConfig& config) {
    ConfigReader reader(config.extra, config.source);
    const std::string type = reader.text("summary_type", "first");
    if (type != "first") reader.refuse("summary_type", type, "first: no other is supported");
    if (!reader.boolean("summary_use_proj", true)) {
      reader.refuse("summary_use_proj", false, "true: no summary without it is supported");
    }
    if (reader.boolean("summary_proj_to_labels", false)) {
      reader.refuse("summary_proj_to_labels", true, "false: no other is supported");
    }
    const std::string name = reader.text("summary_activation", "gelu");
    if (name.empty()) return Activation::none;
    try {
      return activation_from_name(name);
    } catch (const ConfigError& problem) {
      fail<ConfigError>(config.source,
                        ": 'summary_activation': ", std::string_view(problem.what()));
    }
  }

  Activation activation_;
  double first_dropout_;
  double last_dropout_;
  Linear<Scalar> summary_;
  Linear<Scalar> classifier_;
};

}  // namespace eigenformer
