// The model that a folder or packed file asks for: `model_type` in its configuration names the
// family and `architectures` one of its classes. Mirrors transformers/models/auto.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/bert_heads.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/roberta_heads.hpp"

namespace eigenformer {

namespace detail {

/// Whether `architecture` is the class of that suffix in a family with that base model.
inline bool is_architecture(std::string_view architecture, std::string_view base,
                            std::string_view suffix) {
  return std::ranges::any_of(encoder_families, [&](const EncoderFamily& family) {
    return family.base == base && architecture == concat(family.classes, suffix);
  });
}

template <class... Models, class Function>
void with_class_among(const std::string& path, Function&& f) {
  const EncoderConfig config = EncoderConfig::from_pretrained(path);
  const std::string_view base = config.family().base;
  const std::string architecture =
      config.architectures.empty() ? config.class_name("Model") : config.architectures.front();
  const auto fits = [&]<class Model>(std::type_identity<Model> model) {
    if (Model::base != base || !is_architecture(architecture, base, Model::suffix)) return false;
    f(model, config);
    return true;
  };
  if ((fits(std::type_identity<Models>()) || ...)) return;
  std::string known;
  const auto list = [&](std::string_view of, std::string_view suffix) {
    if (of == base) known += concat(known.empty() ? "" : ", ", config.class_name(suffix));
  };
  (list(Models::base, Models::suffix), ...);
  fail<ConfigError>(path, ": 'architectures' names ", architecture, "; known are ", known);
}

}  // namespace detail

/// Calls f(std::type_identity<Model>, config) with the class that `architectures` names in the
/// configuration of a folder or packed file; the family's base model where it names none. Throws
/// ConfigError for one that is not known.
template <class Scalar, class Function>
void with_model_class(const std::string& path, Function&& f) {
  detail::with_class_among<
      RobertaModel<Scalar>, RobertaForMaskedLM<Scalar>, RobertaForCausalLM<Scalar>,
      RobertaForSequenceClassification<Scalar>, RobertaForTokenClassification<Scalar>,
      RobertaForQuestionAnswering<Scalar>, RobertaForMultipleChoice<Scalar>, BertModel<Scalar>,
      BertForPreTraining<Scalar>, BertForMaskedLM<Scalar>, BertLMHeadModel<Scalar>,
      BertForNextSentencePrediction<Scalar>, BertForSequenceClassification<Scalar>,
      BertForTokenClassification<Scalar>, BertForQuestionAnswering<Scalar>,
      BertForMultipleChoice<Scalar>>(path, std::forward<Function>(f));
}

/// Loads the model that `path` asks for and calls f(model) with it. Throws as with_model_class and
/// the class's from_pretrained.
template <class Scalar, class Function>
void with_model(const std::string& path, const LoadOptions& options, Function&& f) {
  with_model_class<Scalar>(path, [&]<class Model>(std::type_identity<Model>, const EncoderConfig&) {
    f(Model::from_pretrained(path, options));
  });
}

}  // namespace eigenformer
