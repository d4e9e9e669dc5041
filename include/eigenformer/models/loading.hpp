// Parameters from and to checkpoints. Names are matched once, from the key list: a key stands for
// the same parameter with and without the base model's prefix ("roberta.") and "module.", and
// LayerNorm.gamma/beta are old names of weight and bias. Everything else must be accounted for.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// How from_pretrained treats a checkpoint that lacks parameters of the model.
struct LoadOptions {
  /// Initialise a head or pooler that the checkpoint lacks, as for fine-tuning; false: an error.
  bool initialize_missing_head = false;
};

/// What a checkpoint and a model did not have in common; loading threw for anything harmful.
struct LoadReport {
  std::vector<std::string> missing;     ///< parameters that were initialised afresh
  std::vector<std::string> unexpected;  ///< tensors that the model has no place for
};

/// The tensors of a checkpoint under canonical names: without prefix, gamma and beta renamed.
class CheckpointKeys {
 public:
  /// `base` is the base model's name in HF's checkpoints, such as "roberta". Throws FormatError
  /// when two tensors stand for one name.
  CheckpointKeys(const Checkpoint& checkpoint, std::string_view base)
      : checkpoint_(checkpoint), prefix_(std::string(base) + '.') {
    for (const std::string& key : checkpoint.names()) {
      const std::string name = canonical(key);
      if (harmless(name)) continue;
      const auto [entry, added] = keys_.try_emplace(name, key);
      check<FormatError>(added, checkpoint.path(), ": tensors '", entry->second, "' and '", key,
                         "' are two names of the same parameter");
    }
  }

  /// A name without prefixes, LayerNorm's old names replaced.
  [[nodiscard]] std::string canonical(std::string_view key) const {
    for (const std::string_view prefix : {std::string_view("module."), std::string_view(prefix_)}) {
      if (key.starts_with(prefix)) key.remove_prefix(prefix.size());
    }
    std::string name(key);
    for (const auto& [old_end, new_end] :
         {std::pair("LayerNorm.gamma", "LayerNorm.weight"), {"LayerNorm.beta", "LayerNorm.bias"}}) {
      const std::size_t start = name.size() - std::min(name.size(), std::strlen(old_end));
      if (name.ends_with(old_end) && (start == 0 || name[start - 1] == '.')) {
        name.replace(start, std::string::npos, new_end);
      }
    }
    return name;
  }

  [[nodiscard]] bool contains(std::string_view name) const {
    return keys_.contains(canonical(name));
  }
  /// Lets a tensor stand for another name, where that has none of its own.
  void substitute(std::string_view name, std::string_view substitute) {
    const auto found = keys_.find(canonical(substitute));
    if (found == keys_.end() || contains(name)) return;
    keys_.emplace(canonical(name), found->second);
    keys_.erase(found);
  }

  /// The checkpoint's own key for a parameter's name, or null.
  [[nodiscard]] const std::string* find(std::string_view name) const {
    const auto found = keys_.find(canonical(name));
    return found == keys_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] const std::map<std::string, std::string>& keys() const noexcept { return keys_; }
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }

 private:
  /// Buffers that older versions of HF saved.
  static bool harmless(std::string_view name) {
    return name == "embeddings.position_ids" || name == "embeddings.token_type_ids";
  }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  std::map<std::string, std::string> keys_;  // canonical name to the checkpoint's key
};

namespace detail {

/// Reads one tensor into a parameter or some of its rows; maps it where it lies if possible.
template <class P>
void load_one(const Checkpoint& checkpoint, const std::string& key,
              const NamedParameter<P>& named) {
  using Scalar = typename std::remove_cvref_t<decltype(named.parameter.value())>::Matrix::Scalar;
  const TensorInfo& info = checkpoint.info(key);
  const bool real = info.dtype == DType::f32 || info.dtype == DType::f64 ||
                    info.dtype == DType::f16 || info.dtype == DType::bf16;
  check<FormatError>(real, checkpoint.path(), ": tensor '", key, "' is ", info.dtype_name,
                     "; weights must be F64, F32, F16 or BF16");
  if (named.whole()) {
    if (const Scalar* view = checkpoint.view<Scalar>(key)) {
      named.parameter.assign(Tensor<Scalar>::foreign(view, named.shape(), checkpoint.mapping(key)));
      return;
    }
  }
  named.parameter.allocate();
  Tensor<Scalar> target = named.value();
  checkpoint.read<Scalar>(key, {target.data(), static_cast<std::size_t>(target.numel())});
}

inline std::string joined(const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), most); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > most) text += concat(" and ", names.size() - most, " more");
  return text;
}

}  // namespace detail

/// Initialises what a checkpoint lacks: weight matrices from Normal(0, deviation), LayerNorm
/// weights 1, biases 0.
class FreshHead {
 public:
  explicit FreshHead(double deviation) : init_(0, deviation) {}

  template <class P>
  void operator()(const NamedParameter<P>& named) const {
    using Scalar = typename std::remove_cvref_t<decltype(named.parameter.value())>::Matrix::Scalar;
    if (named.shape().rank() >= 2)
      named.parameter = init_.normal<Scalar>(named.shape());
    else
      named.parameter = init_.constant<Scalar>(named.shape(), named.name.ends_with("weight"));
  }

 private:
  Initializer init_;
};

/// What config.json calls the type of saved weights.
template <class Scalar>
inline constexpr const char* saved_dtype = nullptr;
template <>
inline constexpr const char* saved_dtype<float> = "float32";
template <>
inline constexpr const char* saved_dtype<double> = "float64";

/// Fills the parameters of `model`, which may have been made with Initializer::none(), and says
/// what did not match. `fresh(name, parameter)` initialises a parameter outside the base model that
/// the checkpoint lacks. Throws FormatError, with all of them in one message, for missing
/// parameters, tensors of another shape, and tensors of the base model that `model` does not know.
template <class Model, class Fresh>
LoadReport load_parameters(Model& model, const CheckpointKeys& keys, const LoadOptions& options,
                           Fresh&& fresh) {
  const Checkpoint& checkpoint = keys.checkpoint();
  LoadReport report;
  std::vector<std::string> lacking;
  std::vector<std::string> mismatched;
  std::set<std::string> known;
  const auto in_base = [](std::string_view name) {
    return name.starts_with("embeddings.") || name.starts_with("encoder.");
  };
  for_each_parameter(model, [&](const auto& named) {
    const std::string name = keys.canonical(named.name);
    known.insert(name);
    const std::string* key = keys.find(name);
    if (named.tied) return;
    if (key == nullptr) {
      if (in_base(name) || !options.initialize_missing_head) {
        lacking.emplace_back(named.name);
      } else {
        fresh(named);
        report.missing.emplace_back(named.name);
      }
      return;
    }
    const Shape shape = checkpoint.shape(*key);
    if (shape != named.shape()) {
      mismatched.push_back(
          concat(*key, " is ", shape, " but the configuration asks for ", named.shape()));
    }
  });
  std::vector<std::string> foreign;
  for (const auto& [name, key] : keys.keys()) {
    if (known.contains(name)) continue;
    (in_base(name) ? foreign : report.unexpected).push_back(key);
  }
  std::string problems;
  const auto add = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) problems += concat("; ", what, ": ", detail::joined(names));
  };
  add("missing", lacking);
  const bool head_alone =
      !lacking.empty() && std::none_of(lacking.begin(), lacking.end(), [&](const auto& name) {
        return in_base(keys.canonical(name));
      });
  if (head_alone) problems += " (initialize_missing_head makes a fresh head for fine-tuning)";
  add("of another shape", mismatched);
  add("not in the model", foreign);
  check<FormatError>(problems.empty(), checkpoint.path(), ": the tensors do not fit config.json",
                     problems);
  for_each_parameter(model, [&](const auto& named) {
    const std::string* key = named.tied ? nullptr : keys.find(named.name);
    if (key != nullptr) detail::load_one(checkpoint, *key, named);
  });
  return report;
}

/// Writes all parameters of `model` to `path` under their names, tied ones once, as HF does.
template <class Model>
void save_parameters(const Model& model, const std::string& path) {
  std::vector<TensorToWrite> tensors;
  for_each_parameter(model, [&](const auto& named) {
    if (named.tied) return;
    const auto value = named.value();  // rows of a parameter are contiguous
    using Scalar = typename std::remove_cvref_t<decltype(value)>::Matrix::Scalar;
    tensors.push_back(
        {std::string(named.name), dtype_of<Scalar>, named.shape(),
         std::as_bytes(std::span(value.data(), static_cast<std::size_t>(value.numel())))});
  });
  write_safetensors(path, tensors, {{"format", "pt"}});
}

/// Writes config.json and model.safetensors into `folder`, which is made if it is not there.
template <class Model>
void save_model(const Model& model, const Json& config, const std::string& folder) {
  const bool made = ::mkdir(folder.c_str(), 0777) == 0 || errno == EEXIST;
  check<IoError>(made && is_directory(folder), folder, ": cannot be made: ", std::strerror(errno));
  save_parameters(model, folder + "/model.safetensors");
  write_file(folder + "/config.json", config.dump(2) + "\n");
}

}  // namespace eigenformer
