// The model that a folder or packed file asks for: `architectures` in its configuration names one
// of the classes that are known here. Mirrors transformers/models/auto.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/roberta_heads.hpp"

namespace eigenformer {

namespace detail {

/// Whether `architecture` is the class of that suffix in one of the families.
inline bool is_architecture(std::string_view architecture, std::string_view suffix) {
  return std::ranges::any_of(RobertaConfig::families, [&](std::string_view family) {
    return architecture == concat(family, suffix);
  });
}

template <class... Models, class Function>
void with_class_among(const std::string& path, Function&& f) {
  const RobertaConfig config = RobertaConfig::from_pretrained(path);
  const std::string architecture =
      config.architectures.empty() ? config.class_name("Model") : config.architectures.front();
  const auto fits = [&]<class Model>(std::type_identity<Model> model) {
    if (!is_architecture(architecture, Model::suffix)) return false;
    f(model, config);
    return true;
  };
  if ((fits(std::type_identity<Models>()) || ...)) return;
  std::string known;
  ((known += concat(known.empty() ? "" : ", ", config.class_name(Models::suffix))), ...);
  fail<ConfigError>(path, ": 'architectures' names ", architecture, "; known are ", known);
}

}  // namespace detail

/// Calls f(std::type_identity<Model>, config) with the class that `architectures` names in the
/// configuration of a folder or packed file; RobertaModel where it names none. Throws ConfigError
/// for one that is not known.
template <class Scalar, class Function>
void with_model_class(const std::string& path, Function&& f) {
  detail::with_class_among<RobertaModel<Scalar>, RobertaForMaskedLM<Scalar>,
                           RobertaForCausalLM<Scalar>, RobertaForSequenceClassification<Scalar>,
                           RobertaForTokenClassification<Scalar>,
                           RobertaForQuestionAnswering<Scalar>, RobertaForMultipleChoice<Scalar>>(
      path, std::forward<Function>(f));
}

/// Loads the model that `path` asks for and calls f(model) with it. Throws as with_model_class and
/// the class's from_pretrained.
template <class Scalar, class Function>
void with_model(const std::string& path, const LoadOptions& options, Function&& f) {
  with_model_class<Scalar>(path, [&]<class Model>(std::type_identity<Model>, const RobertaConfig&) {
    f(Model::from_pretrained(path, options));
  });
}

}  // namespace eigenformer
