// Parameters from and to checkpoints. Names are matched once, from the key list: a key stands for
// the same parameter with and without the base model's prefix ("bert.") and "module.", and
// LayerNorm.gamma/beta are old names of weight and bias. Everything else must be accounted for.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// How from_pretrained treats a checkpoint that lacks parameters of the model.
struct LoadOptions {
  /// Initialise a head or pooler that the checkpoint lacks, as for fine-tuning; false: an error.
  bool initialize_missing_head = false;
  /// With that: also a head and pooler that the checkpoint holds, for other labels or texts.
  bool replace_head = false;
  std::uint64_t seed = 0;  ///< of what is initialised
  /// How the weights of linear layers are kept and multiplied; for inference with float. Left out:
  /// as a packed file has them, else in full.
  std::optional<Precision> precision = {};
  /// Packs the weights while loading and gives their numbers up, which halves the memory: for
  /// inference alone. Always so with a reduced precision, and from a packed file.
  bool pack = false;
  /// Keep a pooler that the checkpoint holds, where the head does not read it.
  bool keep_pooler = false;

  /// Whether weights are packed.
  [[nodiscard]] bool packs() const noexcept {
    return pack || precision.value_or(Precision::full) != Precision::full;
  }
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

  /// Whether a canonical name is of the base model, not of a pooler or head.
  [[nodiscard]] static bool in_base(std::string_view name) {
    constexpr std::string_view parts[] = {"embeddings.",  "embeddings_project.",
                                          "encoder.",      // BERT's shape
                                          "transformer.",  // DistilBERT's layers
                                          "wte.",         "wpe.",
                                          "h.",           "ln_f."};  // GPT-2's
    return std::ranges::any_of(parts, [&](auto part) { return name.starts_with(part); });
  }
  /// Forgets the tensors of heads.
  void keep_base() {
    std::erase_if(keys_, [](const auto& entry) {
      return !in_base(entry.first) && !entry.first.starts_with("pooler.");
    });
  }

  /// Whether a tensor stands for a parameter's name, under any of its spellings.
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
  /// The checkpoint's keys by canonical name.
  [[nodiscard]] const std::map<std::string, std::string>& keys() const noexcept { return keys_; }
  /// The checkpoint that the keys are of.
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }

 private:
  /// Buffers that older versions of HF saved.
  static bool harmless(std::string_view name) {
    return name == "embeddings.position_ids" || name == "embeddings.token_type_ids" ||
           (name.starts_with("h.") &&
            (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")));
  }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  std::map<std::string, std::string> keys_;  // canonical name to the checkpoint's key
};

namespace detail {

/// Takes the matrix or vector at `data` in a mapped file, not to be written. Rows of a matrix are
/// read from the file, since each that is touched in the mapping brings many pages along, which
/// stay.
template <class Scalar>
void borrow_from(std::shared_ptr<const MappedFile> file, const Scalar* data,
                 Parameter<Scalar>& parameter) {
  const Shape& shape = parameter.shape();
  kernels::RowReader<Scalar> reader;
  if (shape.rank() == 2) {
    const auto size = static_cast<std::size_t>(shape[1]);
    const auto begin =
        static_cast<std::size_t>(reinterpret_cast<const std::byte*>(data) - file->data());
    reader = [file, begin, size](Index row, Scalar* out) {
      file->read(begin + static_cast<std::size_t>(row) * size * sizeof(Scalar),
                 std::as_writable_bytes(std::span(out, size)));
    };
  }
  parameter.borrow(Tensor<Scalar>::foreign(data, shape, std::move(file)), std::move(reader));
}

/// Reads one tensor into a parameter or some of its rows; maps it where it lies if possible. What
/// is to be packed stays as it is.
template <class P>
void load_one(const Checkpoint& checkpoint, const std::string& key, const NamedParameter<P>& named,
              bool packs) {
  using Scalar = typename std::remove_cvref_t<decltype(named.parameter.value())>::Matrix::Scalar;
  const TensorInfo& info = checkpoint.info(key);
  const bool real = info.dtype == DType::f32 || info.dtype == DType::f64 ||
                    info.dtype == DType::f16 || info.dtype == DType::bf16;
  check<FormatError>(real, checkpoint.path(), ": tensor '", key, "' is ", info.dtype_name,
                     "; weights must be F64, F32, F16 or BF16");
  if (named.transposed) {
    Tensor<Scalar> stored(named.file_shape());
    checkpoint.read<Scalar>(key, {stored.data(), static_cast<std::size_t>(stored.numel())});
    named.parameter.assign(Tensor<Scalar>(std::as_const(stored).matrix().transpose()));
    return;
  }
  if (named.whole()) {
    if (const Scalar* view = checkpoint.view<Scalar>(key)) {
      if (packs) return borrow_from(checkpoint.mapping(key), view, named.parameter);
      named.parameter.assign(Tensor<Scalar>::foreign(view, named.shape(), checkpoint.mapping(key)));
      return;
    }
  }
  named.parameter.allocate();
  Tensor<Scalar> target = named.value();
  checkpoint.read<Scalar>(key, {target.data(), static_cast<std::size_t>(target.numel())});
}

/// Weight matrices from Normal(0, deviation), weights of LayerNorm 1, biases 0.
template <class P>
void initialize_one(const Initializer& init, const NamedParameter<P>& named) {
  using Scalar = typename std::remove_cvref_t<decltype(named.parameter.value())>::Matrix::Scalar;
  const bool matrix = named.shape().rank() >= 2;
  named.parameter = matrix ? init.normal<Scalar>(named.shape())
                           : init.constant<Scalar>(named.shape(), named.name.ends_with("weight"));
}

/// `what` and the first few names, or nothing where there are none.
inline std::string listed(const char* what, const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  std::string text = names.empty() ? "" : what;
  for (std::size_t i = 0; i < std::min(names.size(), most); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > most) text += concat(" and ", names.size() - most, " more");
  return text;
}

}  // namespace detail

/// What config.json calls the type of saved weights.
template <class Scalar>
inline constexpr const char* saved_dtype = nullptr;
/// @cond specialisations
template <>
inline constexpr const char* saved_dtype<BFloat16> = "bfloat16";
template <>
inline constexpr const char* saved_dtype<float> = "float32";
template <>
inline constexpr const char* saved_dtype<double> = "float64";
/// @endcond

/// How a model's parameters and a checkpoint's tensors match.
struct KeyMatch {
  std::vector<std::string> missing;     ///< parameters without a tensor
  std::vector<std::string> mismatched;  ///< tensors of another shape, with both shapes
  std::vector<std::string> unexpected;  ///< tensors that the model has no place for
};

/// Compares names and shapes; reads and changes nothing.
template <class P>
[[nodiscard]] KeyMatch match_keys(const NamedParameters<P>& parameters,
                                  const CheckpointKeys& keys) {
  const Checkpoint& checkpoint = keys.checkpoint();
  KeyMatch match;
  std::set<std::string> known;
  for (const auto& named : parameters) {
    if (named.tied) continue;
    known.insert(keys.canonical(named.name));
    const std::string* key = keys.find(named.name);
    if (key == nullptr) {
      match.missing.emplace_back(named.name);
    } else if (const Shape shape = checkpoint.shape(*key); shape != named.file_shape()) {
      match.mismatched.push_back(
          concat(*key, " is ", shape, " but the configuration asks for ", named.file_shape()));
    }
  }
  for (const auto& [name, key] : keys.keys()) {
    if (!known.contains(name)) match.unexpected.push_back(key);
  }
  return match;
}

/// Fills the parameters of a model, which may have been made with Initializer::none(), and says
/// what did not match. Throws FormatError, with all of them in one message, for missing
/// parameters, tensors of another shape, and tensors of the base model that it does not know.
/// With `initialize_missing_head` those that are missing outside the base model are drawn afresh.
/// `note` goes with what is missing: what the folder holds instead.
template <class P>
LoadReport load_parameters(const NamedParameters<P>& parameters, const CheckpointKeys& keys,
                           const LoadOptions& options, double initializer_range,
                           std::string_view note = "") {
  const auto in_base = [&](const std::string& key) {
    return CheckpointKeys::in_base(keys.canonical(key));
  };
  const auto split = [&](std::vector<std::string>& names) {  // those of the base model go first
    return std::stable_partition(names.begin(), names.end(), in_base);
  };
  KeyMatch match = match_keys(parameters, keys);
  const auto head_missing = split(match.missing);
  const bool lacks_base = head_missing != match.missing.begin();
  const auto head_unexpected = split(match.unexpected);
  std::string problems;
  if (lacks_base || !options.initialize_missing_head) {
    problems += detail::listed("; missing: ", match.missing);
    if (!match.missing.empty()) problems += note;
    if (!lacks_base && !match.missing.empty()) {
      problems += " (initialize_missing_head makes a fresh head for fine-tuning)";
    }
  }
  problems += detail::listed("; of another shape: ", match.mismatched);
  problems += detail::listed("; not in the model: ", {match.unexpected.begin(), head_unexpected});
  check<FormatError>(problems.empty(), keys.checkpoint().path(),
                     ": the tensors do not fit config.json", problems);

  const Initializer init(options.seed, initializer_range);
  for (const auto& named : parameters) {
    if (named.tied) continue;
    const std::string* key = keys.find(named.name);
    if (key != nullptr)
      detail::load_one(keys.checkpoint(), *key, named, options.packs());
    else
      detail::initialize_one(init, named);
  }
  return {std::move(match.missing), std::move(match.unexpected)};
}

/// Packs a model that was loaded from `checkpoint`, if `options` say so, and lets the pages of its
/// files go.
template <class Model>
void pack_as_asked(Model& model, const LoadOptions& options, const Checkpoint& checkpoint) {
  if (!options.packs()) return;
  ThreadPool threads;
  model.pack(threads, options.precision.value_or(Precision::full));
  for (const SafetensorsFile& file : checkpoint.files()) file.mapping()->forget_pages();
}

/// Writes parameters to `path` under their names, tied ones once, as HF does; `Stored` is the type
/// of the file's numbers, which are rounded to it.
template <class Stored, class P>
void save_parameters(const NamedParameters<P>& parameters, const std::string& path) {
  std::vector<TensorToWrite> tensors;
  std::vector<std::shared_ptr<const void>> copies;
  for (const auto& named : parameters) {
    if (named.tied) continue;
    auto value = named.value();  // rows of a parameter are contiguous
    using Scalar = typename decltype(value)::Matrix::Scalar;
    if (named.transposed) {
      auto stored = std::make_shared<Tensor<Scalar>>(std::as_const(value).matrix().transpose());
      value = *stored;
      copies.push_back(std::move(stored));
    }
    const std::span<const Scalar> numbers(std::as_const(value).data(),
                                          static_cast<std::size_t>(value.numel()));
    auto bytes = std::as_bytes(numbers);
    if constexpr (!std::same_as<Stored, Scalar>) {
      auto rounded = std::make_shared<std::vector<Stored>>();
      rounded->reserve(numbers.size());
      for (const Scalar number : numbers) rounded->emplace_back(static_cast<float>(number));
      bytes = std::as_bytes(std::span(*rounded));
      copies.push_back(std::move(rounded));
    }
    tensors.push_back({named.name, dtype_of<Stored>, named.file_shape(), bytes});
  }
  write_safetensors(path, tensors, {{"format", "pt"}});
}

/// A folder's configuration and tensors, of one and the same save; `usual_type` is the model_type
/// of a configuration that has none. Throws as reading either.
template <class Config>
[[nodiscard]] std::pair<Config, Checkpoint> open_folder(const std::string& folder,
                                                        std::string_view usual_type) {
  const FolderLock lock(folder, FolderLock::For::reading);
  Config config = Config::from_pretrained(folder, usual_type);
  return {std::move(config), Checkpoint::open(folder)};
}

/// Writes config.json and model.safetensors as part of an update. Throws IoError.
template <class Stored, class P>
void save_model(const NamedParameters<P>& parameters, const Json& config,
                const FolderUpdate& update) {
  save_parameters<Stored>(parameters, join_path(update.path(), "model.safetensors"));
  write_file(join_path(update.path(), "config.json"), config.dump(2) + "\n");
}

}  // namespace eigenformer
