// The model that a folder or packed file asks for: `model_type` in its configuration names the
// family and `architectures` one of its classes. Mirrors transformers/models/auto.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "eigenformer/models/albert.hpp"
#include "eigenformer/models/bert.hpp"
#include "eigenformer/models/bert_heads.hpp"
#include "eigenformer/models/distilbert.hpp"
#include "eigenformer/models/electra.hpp"
#include "eigenformer/models/gpt2.hpp"
#include "eigenformer/models/roberta.hpp"
#include "eigenformer/models/roberta_heads.hpp"

namespace eigenformer {

namespace detail {

/// Throws ConfigError for a model_type that no family has, with those that are supported.
inline void check_model_type(const Json& json, const std::string& source) {
  const std::string type = ConfigReader(json, source).text("model_type", "roberta");
  if (type == GPT2Config::model_type || find_family(type) != nullptr) return;
  std::string known;
  for (const EncoderFamily& family : encoder_families) known += concat(family.model_type, ", ");
  fail<ConfigError>(source, ": 'model_type' is ", type, ", which is not supported; it must be one ",
                    "of ", known, GPT2Config::model_type);
}

/// The base model's name in checkpoints, such as "bert", of what a configuration is for. Throws
/// ConfigError for a type that is unknown.
inline std::string_view base_of(const Json& json, const std::string& source) {
  if (GPT2Config::describes(json)) return GPT2Model<float>::base;
  check_model_type(json, source);
  return EncoderConfig::from_json(json, source).family().base;
}

/// Whether `architecture` is the class of that suffix in a family with that base model.
inline bool is_architecture(std::string_view architecture, std::string_view base,
                            std::string_view suffix) {
  if (base == GPT2Model<float>::base) return architecture == GPT2Config().class_name(suffix);
  return std::ranges::any_of(encoder_families, [&](const EncoderFamily& family) {
    return family.base == base && architecture == concat(family.classes, suffix);
  });
}

/// How a class is named: by its base model in checkpoints and its own name without the family's.
struct ModelClass {
  std::string_view base;
  std::string_view suffix;
};

/// Which of `classes` the architectures of a configuration name. Throws ConfigError for none.
template <class Config>
std::size_t class_among(std::span<const ModelClass> classes, const std::string& path,
                        const Config& config, std::string_view base) {
  const std::string architecture =
      config.architectures.empty() ? config.class_name("Model") : config.architectures.front();
  std::string known;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (classes[i].base != base) continue;
    if (is_architecture(architecture, base, classes[i].suffix)) return i;
    known += concat(known.empty() ? "" : ", ", config.class_name(classes[i].suffix));
  }
  fail<ConfigError>(path, ": 'architectures' names ", architecture, "; known are ", known);
}

/// Calls f with a class.
template <class Model, class Config, class Function>
void call_with(Function& f, const Config& config) {
  f(std::type_identity<Model>(), config);
}

/// Calls f for the one of `Models`, all of which take `config`, that its architectures name:
/// through a table, since compilers make one huge function of a chain of calls.
template <class... Models, class Config, class Function>
void with_class_among(const std::string& path, const Config& config, std::string_view base,
                      Function& f) {
  static constexpr ModelClass classes[] = {{Models::base, Models::suffix}...};
  static constexpr void (*calls[])(Function&,
                                   const Config&) = {call_with<Models, Config, Function>...};
  calls[class_among<Config>(classes, path, config, base)](f, config);
}

}  // namespace detail

/// Calls f(std::type_identity<Model>, config) with the class that `architectures` names in the
/// configuration of a folder or packed file; the family's base model where it names none. Throws
/// ConfigError for one that is not known.
template <class Scalar, class Function>
void with_model_class(const std::string& path, Function&& f) {
  const auto [json, source] = read_config(path);
  if (GPT2Config::describes(json)) {
    return detail::with_class_among<GPT2Model<Scalar>, GPT2LMHeadModel<Scalar>>(
        path, GPT2Config::from_json(json, source), GPT2Model<Scalar>::base, f);
  }
  detail::check_model_type(json, source);
  const auto config = EncoderConfig::from_json(json, source);
  detail::with_class_among<
      RobertaModel<Scalar>, RobertaForMaskedLM<Scalar>, RobertaForCausalLM<Scalar>,
      RobertaForSequenceClassification<Scalar>, RobertaForTokenClassification<Scalar>,
      RobertaForQuestionAnswering<Scalar>, RobertaForMultipleChoice<Scalar>, BertModel<Scalar>,
      BertForPreTraining<Scalar>, BertForMaskedLM<Scalar>, BertLMHeadModel<Scalar>,
      BertForNextSentencePrediction<Scalar>, BertForSequenceClassification<Scalar>,
      BertForTokenClassification<Scalar>, BertForQuestionAnswering<Scalar>,
      BertForMultipleChoice<Scalar>, DistilBertModel<Scalar>, DistilBertForMaskedLM<Scalar>,
      DistilBertForSequenceClassification<Scalar>, DistilBertForTokenClassification<Scalar>,
      DistilBertForQuestionAnswering<Scalar>, DistilBertForMultipleChoice<Scalar>,
      ElectraModel<Scalar>, ElectraForPreTraining<Scalar>, ElectraForMaskedLM<Scalar>,
      ElectraForSequenceClassification<Scalar>, ElectraForTokenClassification<Scalar>,
      ElectraForQuestionAnswering<Scalar>, ElectraForMultipleChoice<Scalar>, AlbertModel<Scalar>,
      AlbertForPreTraining<Scalar>, AlbertForMaskedLM<Scalar>,
      AlbertForSequenceClassification<Scalar>, AlbertForTokenClassification<Scalar>,
      AlbertForQuestionAnswering<Scalar>, AlbertForMultipleChoice<Scalar>>(path, config,
                                                                           config.family().base, f);
}

/// Loads the model that `path` asks for and calls f(model) with it. Throws as with_model_class and
/// the class's from_pretrained.
template <class Scalar, class Function>
void with_model(const std::string& path, const LoadOptions& options, Function&& f) {
  with_model_class<Scalar>(path, [&]<class Model>(std::type_identity<Model>, const auto&) {
    f(Model::from_pretrained(path, options));
  });
}

/// A model of the family that its configuration names: one of `Models`, which do the same.
template <class... Models>
class AutoModelOf {
  using Config = typename std::tuple_element_t<0, std::tuple<Models...>>::Config;
  static constexpr bool one_config = (std::is_same_v<typename Models::Config, Config> && ...);

 public:
  /// Its name without the family's, as the first of them has it.
  static constexpr std::string_view suffix = std::get<0>(std::tuple(Models::suffix...));

  /// Takes over a model of one of the families.
  template <class Model>
  requires(std::is_same_v<Model, Models> || ...) AutoModelOf(Model model)
      : model_(std::move(model)) {}
  /// A model with fresh weights, or those that `init` gives. Throws ConfigError.
  template <class... Init>
  explicit AutoModelOf(const Config& config, const Init&... init) requires(one_config)
      : model_(of_base(
            config.family().base, config.source,
            [&]<class Model>(std::type_identity<Model>) { return Model(config, init...); })) {}

  /// Loads a published folder or maps a packed file. Throws IoError, FormatError or ConfigError.
  [[nodiscard]] static AutoModelOf from_pretrained(const std::string& path,
                                                   const LoadOptions& options = {}) {
    const auto [json, source] = read_config(path);
    return AutoModelOf(
        of_base(detail::base_of(json, source), source, [&]<class Model>(std::type_identity<Model>) {
          return Model::from_pretrained(path, options);
        }));
  }
  /// The same for a folder, with another configuration than its own: more labels, say.
  [[nodiscard]] static AutoModelOf from_pretrained(const std::string& folder, const Config& config,
                                                   const LoadOptions& options) requires one_config {
    return AutoModelOf(
        of_base(config.family().base, config.source, [&]<class Model>(std::type_identity<Model>) {
          return Model::from_pretrained(folder, config, options);
        }));
  }

  /// What the model makes of a batch, and of anything more that it takes.
  template <class... More>
  [[nodiscard]] auto operator()(Context& cx, const Batch& batch, const More&... more) const {
    return std::visit([&](const auto& model) { return model(cx, batch, more...); }, model_);
  }
  /// The same with what is asked for of every layer, of base models.
  template <class... More>
  [[nodiscard]] auto forward(Context& cx, const Batch& batch, const More&... more) const {
    return std::visit([&](const auto& model) { return model.forward(cx, batch, more...); }, model_);
  }
  /// The loss of what it made, as its class defines that.
  template <class... Arguments>
  [[nodiscard]] auto loss(Context& cx, const Arguments&... arguments) const {
    return std::visit([&](const auto& model) { return model.loss(cx, arguments...); }, model_);
  }

  /// Writes a folder, at once or as part of an update (`target`), which transformers loads too.
  void save_pretrained(const auto& target) const {
    std::visit([&](const auto& model) { model.save_pretrained(target); }, model_);
  }
  /// Writes a model that was packed as one file, which from_pretrained maps.
  void save_packed(const std::string& path) const {
    std::visit([&](const auto& model) { model.save_packed(path); }, model_);
  }

  /// What the model was made from, where that is of one type in all families.
  [[nodiscard]] const Config& config() const noexcept requires one_config {
    return std::visit([](const auto& model) -> const Config& { return model.config(); }, model_);
  }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept {
    return std::visit([](const auto& model) -> const LoadReport& { return model.load_report(); },
                      model_);
  }
  /// The model itself.
  [[nodiscard]] const std::variant<Models...>& model() const noexcept { return model_; }

  /// Visits what the model visits.
  static void visit(auto& self, auto&& f) {
    std::visit([&]<class Model>(Model& model) { std::remove_cv_t<Model>::visit(model, f); },
               self.model_);
  }

 private:
  explicit AutoModelOf(std::variant<Models...> model) : model_(std::move(model)) {}

  /// What make(std::type_identity<Model>()) gives for the one of `Models` that has that base model.
  template <class Make>
  static std::variant<Models...> of_base(std::string_view base, const std::string& source,
                                         const Make& make) {
    using Call = std::variant<Models...> (*)(const Make&);
    static constexpr std::pair<std::string_view, Call> calls[] = {
        {Models::base, [](const Make& one) -> std::variant<Models...> {
           return one(std::type_identity<Models>());
         }}...};
    const auto found = std::ranges::find(calls, base, &std::pair<std::string_view, Call>::first);
    check<ConfigError>(found != std::end(calls), source, ": 'model_type' is of ", base,
                       " models, of which none does this here");
    return found->second(make);
  }

  std::variant<Models...> model_;
};

/// The encoder.
template <class Scalar>
using AutoModel = AutoModelOf<RobertaModel<Scalar>, BertModel<Scalar>, DistilBertModel<Scalar>,
                              ElectraModel<Scalar>, AlbertModel<Scalar>>;
/// The masked language model.
template <class Scalar>
using AutoModelForMaskedLM =
    AutoModelOf<RobertaForMaskedLM<Scalar>, BertForMaskedLM<Scalar>, DistilBertForMaskedLM<Scalar>,
                ElectraForMaskedLM<Scalar>, AlbertForMaskedLM<Scalar>>;
/// The language model that predicts the next token.
template <class Scalar>
using AutoModelForCausalLM =
    AutoModelOf<RobertaForCausalLM<Scalar>, BertLMHeadModel<Scalar>, GPT2LMHeadModel<Scalar>>;
/// Labels of texts.
template <class Scalar>
using AutoModelForSequenceClassification =
    AutoModelOf<RobertaForSequenceClassification<Scalar>, BertForSequenceClassification<Scalar>,
                DistilBertForSequenceClassification<Scalar>,
                ElectraForSequenceClassification<Scalar>, AlbertForSequenceClassification<Scalar>>;
/// Labels of tokens.
template <class Scalar>
using AutoModelForTokenClassification =
    AutoModelOf<RobertaForTokenClassification<Scalar>, BertForTokenClassification<Scalar>,
                DistilBertForTokenClassification<Scalar>, ElectraForTokenClassification<Scalar>,
                AlbertForTokenClassification<Scalar>>;
/// Extractive question answering.
template <class Scalar>
using AutoModelForQuestionAnswering =
    AutoModelOf<RobertaForQuestionAnswering<Scalar>, BertForQuestionAnswering<Scalar>,
                DistilBertForQuestionAnswering<Scalar>, ElectraForQuestionAnswering<Scalar>,
                AlbertForQuestionAnswering<Scalar>>;

}  // namespace eigenformer
