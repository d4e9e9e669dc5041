// RoBERTa (Liu et al., arXiv:1907.11692): BERT's encoder with position ids that start after the
// padding id. XLM-RoBERTa and CamemBERT are the same model under other names.
// Mirrors transformers/models/roberta/modeling_roberta.py.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "eigenformer/models/encoder_model.hpp"
#include "eigenformer/models/language_model.hpp"
#include "eigenformer/models/pretrained_model.hpp"
#include "eigenformer/models/roberta_config.hpp"

namespace eigenformer {

/// Embeddings whose positions pass over padding.
template <class Scalar>
class RobertaEmbeddings : public EncoderEmbeddings<Scalar> {
 public:
  static constexpr std::string_view base = "roberta";  ///< the encoder's name in checkpoints

  /// Draws the tables. Throws ConfigError where `pad_token_id` is null.
  RobertaEmbeddings(const RobertaConfig& config, const Initializer& init)
      : EncoderEmbeddings<Scalar>(config, init), padding_(config.padding_id()) {}

  /// `[tokens, hidden]`. Throws ShapeError for ids, types and texts beyond the tables.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    Tensor<TokenId> numbers = cx.empty<TokenId>({batch.tokens()});
    const std::span<TokenId> positions(numbers.data(), batch.ids.size());
    position_ids(batch, padding_, positions);
    return EncoderEmbeddings<Scalar>::operator()(cx, batch, positions);
  }

  /// Positions `[tokens]`: padding + 1, padding + 2, ... over each text, where tokens that are
  /// `padding` have position `padding` and are not counted.
  [[nodiscard]] static std::vector<TokenId> position_ids(const Batch& batch, TokenId padding) {
    std::vector<TokenId> positions(batch.ids.size());
    position_ids(batch, padding, positions);
    return positions;
  }
  /// The same into `positions`, as long as the batch has tokens.
  static void position_ids(const Batch& batch, TokenId padding, std::span<TokenId> positions) {
    std::fill(positions.begin(), positions.end(), padding);
    for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
      TokenId position = padding;
      for (Index t = batch.offsets[i]; t < batch.offsets[i + 1]; ++t) {
        const auto at = static_cast<std::size_t>(t);
        if (batch.ids[at] != padding) positions[at] = ++position;
      }
    }
  }

 private:
  TokenId padding_;
};

/// RoBERTa's encoder.
template <class Scalar>
using RobertaModel = EncoderModel<Scalar, RobertaEmbeddings>;
/// What its forward() takes.
using RobertaOutputOptions = EncoderOutputOptions;
/// What its forward() gives.
template <class Scalar>
using RobertaOutput = EncoderOutput<Scalar>;

/// What RoBERTa's heads have in common.
template <class Scalar, class Model>
class RobertaPreTrainedModel : public PreTrainedModel<Scalar, RobertaModel<Scalar>, Model> {
 public:
  /// The language models' head: the activation is the exact GELU, whatever `hidden_act` says.
  static constexpr LanguageModelHead lm_head = {.dense = "lm_head.dense",
                                                .norm = "lm_head.layer_norm",
                                                .bias = "lm_head.bias",
                                                .decoder_weight = "lm_head.decoder.weight",
                                                .decoder_bias = "lm_head.decoder.bias",
                                                .activation = Activation::gelu};

  static constexpr Activation classifier_activation = Activation::tanh;  ///< of texts' labels

  /// The encoder below the head.
  [[nodiscard]] const RobertaModel<Scalar>& roberta() const noexcept { return this->base_model(); }

 protected:
  using PreTrainedModel<Scalar, RobertaModel<Scalar>, Model>::PreTrainedModel;

  /// Of multiple choice: `classifier_dropout` has no effect on it.
  static double choice_dropout_prob(const RobertaConfig& config) {
    return config.hidden_dropout_prob;
  }
  /// Of question answering.
  static double answer_dropout_prob(const RobertaConfig&) { return 0; }
};

/// RoBERTa's masked language model.
template <class Scalar>
using RobertaForMaskedLM = ForMaskedLM<Scalar, RobertaPreTrainedModel>;

}  // namespace eigenformer
