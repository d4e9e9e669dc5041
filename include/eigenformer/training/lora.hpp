// LoRA (Hu et al., arXiv:2106.09685): a model is fine-tuned by what is added to some of its
// weights, W + (alpha / rank) B A with small A and B, while W stays as it is. Files are those of
// PEFT. The sum is formed once for each tape, at the cost of a product with `rank` inner numbers,
// and stands there for W: the model itself knows nothing of it, query and value may be rows of one
// matrix, and the tape carries gradients on to A and B. PEFT computes x W^T + s (x A^T) B^T
// instead, the same but for rounding, unless it drops some of the second x: what the sum cannot
// express, so that training with lora_dropout is refused. With it the matrix would have to be
// multiplied twice, at each of its uses.
#pragma once

#include <cmath>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/low_rank.hpp"
#include "eigenformer/base/rng.hpp"
#include "eigenformer/models/config_reader.hpp"
#include "eigenformer/models/loading.hpp"

namespace eigenformer {

/// What is adapted, and how; the members are PEFT's, and the defaults but for the targets.
struct LoraOptions {
  Index r = 8;              ///< the rank: rows of A, columns of B
  double lora_alpha = 8;    ///< over the rank, what their product is multiplied with
  double lora_dropout = 0;  ///< of an adapter made elsewhere; it can be merged, not trained
  /// Linear layers, by the end of their names.
  std::vector<std::string> target_modules = {"query", "value"};
  /// Modules that are trained whole and saved with the adapter, by the end of their names: a fresh
  /// head, such as "classifier".
  std::vector<std::string> modules_to_save = {};
  std::optional<std::string> task_type = {};                ///< PEFT's, such as "SEQ_CLS"
  std::optional<std::string> base_model_name_or_path = {};  ///< where the model came from

  /// Reads adapter_config.json. Throws IoError, FormatError, and ConfigError for a variant of LoRA
  /// that is not this one.
  [[nodiscard]] static LoraOptions from_pretrained(const std::string& folder) {
    const std::string path = current_file(folder, "adapter_config.json");
    const Json json = read_json(path);
    ConfigReader reader(json, path);
    const std::string type = reader.text("peft_type", "LORA");
    check<ConfigError>(type == "LORA", path, ": 'peft_type' is ", type, "; only LORA is read");
    const std::string bias = reader.text("bias", "none");
    check<ConfigError>(bias == "none", path, ": 'bias' is ", bias, "; it must be none");
    LoraOptions options;
    options.r = reader.whole<Index>("r", options.r);
    options.lora_alpha = reader.number("lora_alpha", options.lora_alpha);
    options.lora_dropout = reader.number("lora_dropout", 0);
    options.target_modules = reader.texts("target_modules");
    options.modules_to_save = reader.texts("modules_to_save");
    options.task_type = reader.text_or_null("task_type");
    options.base_model_name_or_path = reader.text_or_null("base_model_name_or_path");
    // How it was made and for what; any other key would be another way to compute.
    const std::set<std::string> harmless = {
        "auto_mapping", "inference_mode", "init_lora_weights", "loftq_config",
        "eva_config",   "corda_config",   "lora_ga_config",    "megatron_core",
        "peft_version", "revision",       "qalora_group_size"};
    const Json rest = reader.rest();
    for (const auto& [key, value] : rest.items()) {
      const bool off = value.is_null() || value == Json(false) ||
                       ((value.is_object() || value.is_array()) && value.empty());
      if (!off && !harmless.contains(key)) {
        reader.refuse(key, value, "left out, null, false or empty: other variants are not read");
      }
    }
    return options;
  }

  /// What adapter_config.json holds.
  [[nodiscard]] Json to_json() const {
    const auto text_or_null = [](const auto& text) { return text ? Json(*text) : Json(); };
    return {{"peft_type", "LORA"},
            {"r", r},
            {"lora_alpha", lora_alpha},
            {"lora_dropout", lora_dropout},
            {"target_modules", target_modules},
            {"modules_to_save", modules_to_save.empty() ? Json() : Json(modules_to_save)},
            {"task_type", text_or_null(task_type)},
            {"base_model_name_or_path", text_or_null(base_model_name_or_path)},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"inference_mode", true}};
  }
};

/// A model with adapters, as a module of what is trained: a Trainer's `Model`. Mirrors
/// peft.PeftModel with a LoraConfig.
template <class Scalar, class Model>
class Lora {
 public:
  /// Fresh adapters, which change nothing yet: A is drawn, B is 0. Freezes all of the model but the
  /// modules to save; the model must stay where it is. Throws ConfigError for a rank below 1, a
  /// lora_dropout, and a target that no linear layer has.
  explicit Lora(Model& model, LoraOptions options = {}, std::uint64_t seed = 0)
      : Lora(std::move(options), model) {
    require_no_dropout();
    const Rng rng(seed);
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      Tensor<Scalar> a(adapters_[i].a.shape());
      // Kaiming's uniform with slope sqrt(5), as torch.nn.Linear begins.
      const double bound = 1 / std::sqrt(static_cast<double>(a.cols()));
      for (Index j = 0; j < a.numel(); ++j) {
        a.data()[j] =
            static_cast<Scalar>(bound * (2 * rng.uniform(i, static_cast<std::uint64_t>(j)) - 1));
      }
      adapters_[i].a.assign(std::move(a));
      adapters_[i].b.assign(Tensor<Scalar>::zeros(adapters_[i].b.shape()));
    }
  }

  /// Adapters of a folder, as PEFT or this class saved them, for the model that they were trained
  /// with. Throws IoError, FormatError, ConfigError; every tensor is accounted for.
  [[nodiscard]] static Lora from_pretrained(Model& model, const std::string& folder) {
    const FolderLock lock(folder, FolderLock::For::reading);
    Lora lora(LoraOptions::from_pretrained(folder), model);
    const auto file = SafetensorsFile::open(current_file(folder, weights_file));
    std::size_t known = 0;
    for (const auto& named : named_parameters(lora)) {
      const std::string key = concat(prefix, named.name);
      const Shape shape = file.shape(key);
      check<FormatError>(shape == named.shape(), file.path(), ": tensor '", key, "' is ", shape,
                         " but the model and adapter_config.json ask for ", named.shape());
      named.parameter.allocate();
      Tensor<Scalar> value = named.value();
      file.read<Scalar>(key, {value.data(), static_cast<std::size_t>(value.numel())});
      ++known;
    }
    check<FormatError>(known == file.tensors().size(), file.path(), ": holds ",
                       file.tensors().size(), " tensors, but adapter_config.json asks for ", known);
    return lora;
  }

  /// What the model makes of the arguments, adapted, on the context's tape. Throws Error without
  /// one: inference takes merged().
  template <class... Arguments>
  [[nodiscard]] auto operator()(Context& cx, Arguments&&... arguments) const {
    adapt(cx);
    return model_->operator()(cx, std::forward<Arguments>(arguments)...);
  }
  /// From here on the context's tape sees the weights adapted, in whatever the model computes.
  void adapt(Context& cx) const {
    Tape<Scalar>* tape = tape_of<Scalar>(cx);
    check(tape != nullptr, "lora: adapters act on a tape; for inference take merged()");
    require_no_dropout();
    for (std::size_t i = 0; i < adapters_.size();) {
      const Tensor<Scalar>& weight = std::as_const(*adapters_[i].base).value();
      std::vector<LowRankTerm<Scalar>> terms;  // query and value are rows of one weight
      for (const auto* base = adapters_[i].base; i < adapters_.size() && adapters_[i].base == base;
           ++i) {
        terms.push_back({adapters_[i].rows, adapters_[i].a(cx), adapters_[i].b(cx)});
      }
      if (tape->substitutes(weight)) continue;
      tape->substitute(weight, add_low_rank(cx, weight, std::move(terms), factor()));
    }
  }

  /// A copy of the model with the adapters added to its weights, and nothing frozen.
  [[nodiscard]] Model merged() const {
    Model copy = *model_;
    Context cx;
    auto adapter = adapters_.begin();
    for (const auto& named : named_parameters(copy)) {
      named.parameter.trainable = true;
      if (adapter == adapters_.end() || named.tied || named.name != adapter->module + ".weight") {
        continue;
      }
      const Tensor<Scalar> sum = add_low_rank(
          cx, named.value().detach(),
          {{{0, named.end - named.begin}, adapter->a.value(), adapter->b.value()}}, factor());
      named.value().copy_from(sum);
      ++adapter;
    }
    return copy;
  }

  /// Writes adapter_config.json and adapter_model.safetensors, which PEFT loads. Throws IoError.
  void save_pretrained(const std::string& folder) const {
    FolderUpdate update(folder);
    save_pretrained(update);
    update.commit();
  }
  /// The same as part of an update.
  void save_pretrained(const FolderUpdate& update) const {
    std::vector<TensorToWrite> tensors;
    for (const auto& named : named_parameters(*this)) {
      const auto value = named.value();
      tensors.push_back(
          {concat(prefix, named.name), dtype_of<Scalar>, named.shape(),
           std::as_bytes(std::span(value.data(), static_cast<std::size_t>(value.numel())))});
    }
    write_safetensors(join_path(update.path(), weights_file), tensors, {{"format", "pt"}});
    write_file(join_path(update.path(), "adapter_config.json"), options_.to_json().dump(2) + "\n");
  }

  /// What it was made with.
  [[nodiscard]] const LoraOptions& options() const noexcept { return options_; }

  /// Visits `lora_A.weight` and `lora_B.weight` under the name of each target, and the modules that
  /// are trained whole.
  static void visit(auto& self, auto&& f) {
    for (auto& adapter : self.adapters_) {
      f(adapter.module + ".lora_A.weight", adapter.a);
      f(adapter.module + ".lora_B.weight", adapter.b);
    }
    for (const auto& [name, rows] : self.saved_) f(name, rows);
  }

 private:
  static constexpr const char* prefix = "base_model.model.";
  static constexpr const char* weights_file = "adapter_model.safetensors";

  struct Adapter {
    std::string module;  // such as "roberta.encoder.layer.0.attention.self.query"
    Parameter<Scalar>* base;
    RowRange rows;  // of the base
    Parameter<Scalar> a;
    Parameter<Scalar> b;
  };

  /// Adapters without numbers; the model is frozen.
  Lora(LoraOptions options, Model& model) : model_(&model), options_(std::move(options)) {
    check<ConfigError>(options_.r >= 1, "lora: 'r' is ", options_.r, "; it must be 1 at least");
    check<ConfigError>(!options_.target_modules.empty(), "lora: 'target_modules' names nothing");
    std::vector<bool> used(options_.target_modules.size() + options_.modules_to_save.size());
    for (const auto& named : named_parameters(model)) named.parameter.trainable = false;
    for (const auto& named : named_parameters(model)) {
      const auto at = used.begin() + static_cast<std::ptrdiff_t>(options_.target_modules.size());
      if (marks(named.name, options_.modules_to_save, at, true)) {
        check<ConfigError>(!named.tied, "lora: '", named.name,
                           "' is tied to another parameter and cannot be among modules_to_save");
        named.parameter.trainable = true;
        saved_.emplace_back(named.name, rows_of(named.parameter, named.begin, named.end));
        continue;
      }
      std::string_view module = named.name;
      if (named.tied || named.shape().rank() != 2 || !module.ends_with(".weight")) continue;
      module.remove_suffix(std::string_view(".weight").size());
      if (!marks(module, options_.target_modules, used.begin(), false)) continue;
      check<ConfigError>(module.find("embeddings.") == module.npos, "lora: target '", module,
                         "' is an embedding; adapters are for linear layers");
      // To the tape it is not frozen, so that it asks what stands for it.
      named.parameter.trainable = true;
      adapters_.push_back({std::string(module),
                           &named.parameter,
                           {named.begin, named.end},
                           Parameter<Scalar>(Shape{options_.r, named.shape()[1]}),
                           Parameter<Scalar>(Shape{named.shape()[0], options_.r})});
    }
    for (std::size_t i = 0; i < used.size(); ++i) {
      const std::size_t targets = options_.target_modules.size();
      check<ConfigError>(
          used[i], "lora: the model has no module '",
          i < targets ? options_.target_modules[i] : options_.modules_to_save[i - targets],
          "' of the ", i < targets ? "target_modules" : "modules_to_save");
    }
  }

  /// Whether a name is that of one of `modules`, by its end, or with `inside` of something in it;
  /// these are marked as used.
  static bool marks(std::string_view name, const std::vector<std::string>& modules, auto used,
                    bool inside) {
    const std::string dotted = concat(".", name, ".");
    bool found = false;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const std::string module = concat(".", modules[i], ".");
      if (inside ? dotted.find(module) == dotted.npos : !dotted.ends_with(module)) continue;
      used[static_cast<std::ptrdiff_t>(i)] = true;
      found = true;
    }
    return found;
  }

  void require_no_dropout() const {
    check<ConfigError>(options_.lora_dropout == 0, "lora: 'lora_dropout' is ",
                       options_.lora_dropout, "; adapters are trained without, so it must be 0");
  }
  [[nodiscard]] Scalar factor() const {
    return static_cast<Scalar>(options_.lora_alpha / static_cast<double>(options_.r));
  }

  Model* model_;
  LoraOptions options_;
  std::vector<Adapter> adapters_;
  std::vector<std::pair<std::string, ParameterRows<Parameter<Scalar>>>> saved_;
};

}  // namespace eigenformer
