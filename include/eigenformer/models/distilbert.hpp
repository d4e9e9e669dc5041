// DistilBERT (Sanh et al., arXiv:1910.01108): BERT with half its layers, without types of tokens
// and pooler, taught by BERT; its parts have names of their own. Mirrors
// transformers/models/distilbert/modeling_distilbert.py.
#pragma once

#include <cmath>
#include <string_view>

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// What DistilBERT's configurations say that they are.
struct DistilBertFamily {
  static constexpr std::string_view model_type = "distilbert";  ///< as config.json has it
};

/// Fresh, it has the class defaults of transformers 5, which are those of distilbert-base-uncased.
using DistilBertConfig = FamilyConfig<DistilBertFamily>;

/// BERT's layer under other names.
template <class Scalar>
class DistilBertLayer : public EncoderLayer<Scalar> {
 public:
  using EncoderLayer<Scalar>::EncoderLayer;

  /// Visits `attention`, `sa_layer_norm`, `ffn` and `output_layer_norm`.
  static void visit(auto& self, auto&& f) {
    EncoderLayer<Scalar>::visit(self, f,
                                {.attention = {"attention.q_lin", "attention.k_lin",
                                               "attention.v_lin", "attention.out_lin"},
                                 .attention_norm = "sa_layer_norm",
                                 .feed_forward = {"ffn.lin1", "ffn.lin2"},
                                 .output_norm = "output_layer_norm"});
  }
};

/// BERT's embeddings without types.
template <class Scalar>
class DistilBertEmbeddings : public BertEmbeddings<Scalar> {
 public:
  using Encoder = EncoderLayers<Scalar, DistilBertLayer<Scalar>>;  ///< what the layers are held in
  static constexpr bool pools = false;                             ///< there is no pooler
  static constexpr std::string_view base = "distilbert";           ///< its name in checkpoints
  static constexpr std::string_view layers = "transformer";        ///< what holds the layers there

  /// Draws the tables; positions are sines and cosines where `sinusoidal_pos_embds` is true.
  DistilBertEmbeddings(const EncoderConfig& config, const Initializer& init)
      : BertEmbeddings<Scalar>(config, init) {
    const bool waves =
        ConfigReader(config.extra, config.source).boolean("sinusoidal_pos_embds", /*absent=*/false);
    Parameter<Scalar>& table = this->position_table();
    if (!waves || !table.defined()) return;
    for (Index position = 0; position < config.max_position_embeddings; ++position) {
      for (Index i = 0; i < config.hidden_size; ++i) {
        const Index even = i - i % 2;  // a sine and the cosine after it have one frequency
        const double exponent = static_cast<double>(even) / static_cast<double>(config.hidden_size);
        const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
        table.value().matrix()(position, i) =
            static_cast<Scalar>(i % 2 == 0 ? std::sin(angle) : std::cos(angle));
      }
    }
  }
};

/// DistilBERT's encoder.
template <class Scalar>
using DistilBertModel = EncoderModel<Scalar, DistilBertEmbeddings>;

/// What DistilBERT's heads have in common.
template <class Scalar, class Model>
class DistilBertPreTrainedModel : public PreTrainedModel<Scalar, DistilBertModel<Scalar>, Model> {
 public:
  /// The language model's head, with the activation of the layers.
  static constexpr LanguageModelHead lm_head = {.dense = "vocab_transform",
                                                .norm = "vocab_layer_norm",
                                                .bias = "vocab_projector.bias",
                                                .decoder_weight = "vocab_projector.weight",
                                                .decoder_bias = ""};

  /// The encoder below the head.
  [[nodiscard]] const DistilBertModel<Scalar>& distilbert() const noexcept {
    return this->base_model();
  }

 protected:
  using PreTrainedModel<Scalar, DistilBertModel<Scalar>, Model>::PreTrainedModel;

  /// Of question answering.
  static double answer_dropout_prob(const EncoderConfig& config) {
    return config.own_probability("qa_dropout", 0.1);
  }
};

/// DistilBERT's masked language model.
template <class Scalar>
using DistilBertForMaskedLM = ForMaskedLM<Scalar, DistilBertPreTrainedModel>;

/// DistilBERT for labels of tokens.
template <class Scalar>
using DistilBertForTokenClassification = ForTokenClassification<Scalar, DistilBertPreTrainedModel>;

/// DistilBERT for extractive question answering.
template <class Scalar>
using DistilBertForQuestionAnswering = ForQuestionAnswering<Scalar, DistilBertPreTrainedModel>;

/// `outputs` numbers of each text: classifier(dropout(relu(pre_classifier(h)))) of its first token.
/// `Task<Scalar, PreTrained, Model>` says what they are.
template <class Scalar, template <class, template <class, class> class, class> class Task,
          class Model>
class DistilBertClassifier : public Task<Scalar, DistilBertPreTrainedModel, Model> {
 public:
  /// Hidden states of first tokens, `[segments, hidden]`, to `[segments, outputs]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& first) const {
    const Tensor<Scalar> x = pre_classifier_(cx, first, Activation::relu);  // [segments, hidden]
    return classifier_(cx, dropout(cx, x, dropout_));
  }

  /// Visits `pre_classifier` and `classifier`.
  static void visit_head(auto& self, auto&& f) {
    f("pre_classifier", self.pre_classifier_);
    f("classifier", self.classifier_);
  }

 protected:
  /// Throws ConfigError.
  DistilBertClassifier(const EncoderConfig& config, Index outputs, const Initializer& init)
      : Task<Scalar, DistilBertPreTrainedModel, Model>(config, /*pooler=*/false, init),
        pre_classifier_(config.hidden_size, config.hidden_size, init),
        classifier_(config.hidden_size, outputs, init),
        dropout_(config.own_probability("seq_classif_dropout", 0.2)) {}

 private:
  Linear<Scalar> pre_classifier_;
  Linear<Scalar> classifier_;
  double dropout_;
};

/// Labels or scores of whole texts, `[segments, labels]`.
template <class Scalar>
class DistilBertForSequenceClassification
    : public DistilBertClassifier<Scalar, SequenceClassificationModel,
                                  DistilBertForSequenceClassification<Scalar>> {
 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit DistilBertForSequenceClassification(const EncoderConfig& config)
      : DistilBertForSequenceClassification(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  DistilBertForSequenceClassification(const EncoderConfig& config, const Initializer& init)
      : DistilBertForSequenceClassification::DistilBertClassifier(config, config.labels(), init) {}
};

/// A score of each text that may be chosen, `[segments, 1]`.
template <class Scalar>
class DistilBertForMultipleChoice
    : public DistilBertClassifier<Scalar, MultipleChoiceModel,
                                  DistilBertForMultipleChoice<Scalar>> {
 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit DistilBertForMultipleChoice(const EncoderConfig& config)
      : DistilBertForMultipleChoice(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  DistilBertForMultipleChoice(const EncoderConfig& config, const Initializer& init)
      : DistilBertForMultipleChoice::DistilBertClassifier(config, 1, init) {}
};

}  // namespace eigenformer
