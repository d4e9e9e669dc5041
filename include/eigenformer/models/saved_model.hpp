// What every model writes: a folder that transformers loads, or one packed file.
#pragma once

#include <string>

#include "eigenformer/models/loading.hpp"
#include "eigenformer/models/packed_model.hpp"

namespace eigenformer {

/// How models are saved. `Model` derives from it and has parameters, config() and the suffix of its
/// class.
template <class Scalar, class Model>
class SavedModel {
 public:
  /// Writes config.json and model.safetensors, which transformers loads; both at once, or neither.
  /// The numbers are of type `Stored`, such as BFloat16. Throws IoError.
  template <class Stored = Scalar>
  void save_pretrained(const std::string& folder) const {
    FolderUpdate update(folder);
    save_pretrained<Stored>(update);
    update.commit();
  }
  /// The same as part of an update, which may hold the tokenizer too.
  template <class Stored = Scalar>
  void save_pretrained(const FolderUpdate& update) const {
    save_model<Stored>(named_parameters(self()), config_of(saved_dtype<Stored>), update);
  }
  /// Writes a model that was packed as one file, which from_pretrained maps.
  void save_packed(const std::string& path) const {
    eigenformer::save_packed(named_parameters(self()), config_of(saved_dtype<Scalar>), path);
  }

 private:
  const Model& self() const noexcept { return static_cast<const Model&>(*this); }
  Json config_of(const char* type) const { return self().config().saved_as(Model::suffix, type); }
};

}  // namespace eigenformer
