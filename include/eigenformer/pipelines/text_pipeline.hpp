// What the pipelines have in common: a tokenizer, a model and what it computes in.
// Mirrors transformers/pipelines/base.py.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "eigenformer/autograd/context.hpp"
#include "eigenformer/base/precision.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// A tokenizer and a model, any that has `from_pretrained(path, LoadOptions)`. Use one per thread;
/// copies share the model. `Self` is the pipeline that derives from it.
template <class ModelType, class Self>
class TextPipeline {
 public:
  using Model = ModelType;  ///< the model in use

  /// Shares a tokenizer and a model that are loaded.
  TextPipeline(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Model> model,
               Context context = Context())
      : tokenizer_(std::move(tokenizer)), model_(std::move(model)), context_(std::move(context)) {}

  /// Loads a published folder, the weights packed for inference, or maps a packed file, with the
  /// tokenizer in the same folder. Throws IoError, FormatError or ConfigError.
  [[nodiscard]] static Self from_pretrained(const std::string& path, Context context = Context(),
                                            std::optional<Precision> precision = {}) {
    return {std::make_shared<Tokenizer>(Tokenizer::from_pretrained(folder_of(path))),
            std::make_shared<Model>(
                Model::from_pretrained(path, {.precision = precision, .pack = true})),
            std::move(context)};
  }

  /// The tokenizer in use.
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  /// The model in use.
  [[nodiscard]] const Model& model() const noexcept { return *model_; }

 protected:
  std::shared_ptr<const Tokenizer> tokenizer_;  ///< what makes tokens of texts
  std::shared_ptr<const Model> model_;          ///< what computes
  Context context_;                             ///< what it computes in
};

}  // namespace eigenformer
