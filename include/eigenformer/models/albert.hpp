// ALBERT (Lan et al., arXiv:1909.11942): BERT whose layers share their weights, with embeddings
// smaller than its layers; pretrained on masked tokens and on the order of two texts. Mirrors
// transformers/models/albert/modeling_albert.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/task_heads.hpp"

namespace eigenformer {

/// What ALBERT's configurations say that they are.
struct AlbertFamily {
  static constexpr std::string_view model_type = "albert";  ///< as config.json has it
};

/// Fresh, it has the class defaults of transformers 5, which are those of albert-xxlarge-v2.
using AlbertConfig = FamilyConfig<AlbertFamily>;

/// BERT's layer under other names, without dropout of the feed-forward network's output.
template <class Scalar>
class AlbertLayer : public EncoderLayer<Scalar> {
 public:
  /// Draws all weights. Throws ConfigError where the heads do not divide `hidden`.
  explicit AlbertLayer(EncoderLayerOptions options, const Initializer& init = {})
      : EncoderLayer<Scalar>((options.feed_forward_dropout = 0, options), init) {}

  /// Visits `attention`, `ffn`, `ffn_output` and `full_layer_layer_norm`.
  static void visit(auto& self, auto&& f) {
    EncoderLayer<Scalar>::visit(
        self, f,
        {.attention = {"attention.query", "attention.key", "attention.value", "attention.dense"},
         .attention_norm = "attention.LayerNorm",
         .feed_forward = {"ffn", "ffn_output"},
         .output_norm = "full_layer_layer_norm"});
  }
};

/// `num_hidden_groups` groups of `inner_group_num` layers each. Of num_hidden_layers L, layer l
/// applies all those of group int(l / (L / groups)), one after the other.
template <class Scalar>
class AlbertLayers : public EncoderLayers<Scalar, AlbertLayer<Scalar>> {
  using Base = EncoderLayers<Scalar, AlbertLayer<Scalar>>;

 public:
  /// Draws all weights. Throws ConfigError.
  AlbertLayers(const EncoderConfig& config, const Initializer& init)
      : Base(config, plan(config), init), inner_(inner(config)) {}

  /// Visits `albert_layer_groups`.
  static void visit(auto& self, auto&& f) {
    for (std::size_t i = 0; i < self.layer_.size(); ++i) {
      f(concat("albert_layer_groups.", i / self.inner_, ".albert_layers.", i % self.inner_),
        self.layer_[i]);
    }
  }

 private:
  static Index groups(const EncoderConfig& config) {
    return config.own_size("num_hidden_groups", 1, EncoderConfig::max_layers);
  }
  /// Layers of a group; neither those that are held nor those that are applied exceed the limit.
  static std::size_t inner(const EncoderConfig& config) {
    const Index most =
        EncoderConfig::max_layers / std::max(groups(config), config.num_hidden_layers);
    return static_cast<std::size_t>(config.own_size("inner_group_num", 1, most));
  }

  static typename Base::Plan plan(const EncoderConfig& config) {
    const auto all_groups = static_cast<std::size_t>(groups(config));
    const std::size_t layers = inner(config);
    typename Base::Plan plan{all_groups * layers, {}};
    // In double as transformers has it, where the quotient may fall below a whole number.
    const double of_group =
        static_cast<double>(config.num_hidden_layers) / static_cast<double>(all_groups);
    for (Index l = 0; l < config.num_hidden_layers; ++l) {
      const auto group = static_cast<std::size_t>(static_cast<double>(l) / of_group);
      for (std::size_t i = 0; i < layers; ++i) plan.order.push_back(group * layers + i);
    }
    return plan;
  }

  std::size_t inner_;  // layers of a group
};

/// BERT's embeddings, of `embedding_size` numbers, which are always projected.
template <class Scalar>
class AlbertEmbeddings : public BertEmbeddings<Scalar> {
 public:
  using Encoder = AlbertLayers<Scalar>;                 ///< what the layers are held in
  static constexpr bool projects_always = true;         ///< also from the encoder's size
  static constexpr std::string_view base = "albert";    ///< the encoder's name in checkpoints
  static constexpr std::string_view pooler = "pooler";  ///< the pooler's layer there
  /// The projection there.
  static constexpr std::string_view projection = "encoder.embedding_hidden_mapping_in";

  /// Draws the tables. Throws ConfigError.
  AlbertEmbeddings(const EncoderConfig& config, const Initializer& init)
      : BertEmbeddings<Scalar>(
            config, config.own_size("embedding_size", 128, EncoderConfig::max_features), init) {}
};

/// ALBERT's encoder.
template <class Scalar>
using AlbertModel = EncoderModel<Scalar, AlbertEmbeddings>;

/// What AlbertForPreTraining computes.
template <class Scalar>
struct AlbertForPreTrainingOutput {
  Tensor<Scalar> prediction_logits;  ///< of the masked language model, `[tokens, vocab]`
  Tensor<Scalar> sop_logits;         ///< 0: in order, 1: swapped, `[segments, labels]`
};

/// What ALBERT's heads have in common.
template <class Scalar, class Model>
class AlbertPreTrainedModel : public PreTrainedModel<Scalar, AlbertModel<Scalar>, Model> {
 public:
  /// The language models' head, with the activation of `hidden_act`.
  static constexpr LanguageModelHead lm_head = {.dense = "predictions.dense",
                                                .norm = "predictions.LayerNorm",
                                                .bias = "predictions.bias",
                                                .decoder_weight = "predictions.decoder.weight",
                                                .decoder_bias = "predictions.decoder.bias"};
  using PreTrainingOutput = AlbertForPreTrainingOutput<Scalar>;  ///< of ForPreTraining
  static constexpr std::string_view pair_classifier = "sop_classifier.classifier";  ///< its layer

  /// The encoder below the head.
  [[nodiscard]] const AlbertModel<Scalar>& albert() const noexcept { return this->base_model(); }

 protected:
  using PreTrainedModel<Scalar, AlbertModel<Scalar>, Model>::PreTrainedModel;

  /// Labels of pairs; all published models have 2.
  static Index pair_labels(const EncoderConfig& config) { return config.labels(); }
  /// The dropout before their layer.
  static double pair_dropout_prob(const EncoderConfig& config) {
    return config.classifier_dropout_prob();
  }
  /// Of multiple choice.
  static double choice_dropout_prob(const EncoderConfig& config) {
    return config.classifier_dropout_prob();
  }
  /// Of question answering.
  static double answer_dropout_prob(const EncoderConfig&) { return 0; }
};

/// ALBERT's masked language model.
template <class Scalar>
using AlbertForMaskedLM = ForMaskedLM<Scalar, AlbertPreTrainedModel>;

/// ALBERT as it is pretrained: the masked language model, and whether the two texts of a pair are
/// in order or swapped.
template <class Scalar>
using AlbertForPreTraining = ForPreTraining<Scalar, AlbertPreTrainedModel>;

/// ALBERT for labels or scores of whole texts.
template <class Scalar>
using AlbertForSequenceClassification =
    ForPooledSequenceClassification<Scalar, AlbertPreTrainedModel>;

/// ALBERT for labels of tokens.
template <class Scalar>
using AlbertForTokenClassification = ForTokenClassification<Scalar, AlbertPreTrainedModel>;

/// ALBERT for extractive question answering.
template <class Scalar>
using AlbertForQuestionAnswering = ForQuestionAnswering<Scalar, AlbertPreTrainedModel>;

/// ALBERT for multiple choice.
template <class Scalar>
using AlbertForMultipleChoice = ForMultipleChoice<Scalar, AlbertPreTrainedModel>;

}  // namespace eigenformer
