// SentenceConfig: what the files of sentence-transformers in a model folder say about embeddings.
//   modules.json                       the modules, one after the other, and their folders
//   sentence_bert_config.json          the encoder's longest text, else the tokenizer's
//   1_Pooling/config.json              the pooling modes
//   2_Dense/config.json                a linear layer on the pooled vectors
//   config_sentence_transformers.json  the text that goes in front of every other
// Without modules.json: the mean over all tokens, not normalised. What the files ask for and this
// library does not have is refused by name.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/activation.hpp"
#include "eigenformer/models/config_reader.hpp"
#include "eigenformer/pipelines/pooling.hpp"

namespace eigenformer {

namespace detail {

/// The length that sentence-transformers' own file in `folder` gives, in tokens, if it does. Throws
/// ConfigError where the file asks for another task or output than these, or for what is not
/// supported.
[[nodiscard]] inline std::optional<Index> read_max_seq_length(const std::string& folder,
                                                              const std::string& task,
                                                              const std::string& output) {
  std::string source = join_path(folder, "sentence_bert_config.json");
  // Older versions named it after the model.
  for (const char* family : {"roberta", "xlm-roberta", "camembert", "distilbert", "albert"}) {
    const std::string older = join_path(folder, concat("sentence_", family, "_config.json"));
    if (!exists(source) && exists(older)) source = older;
  }
  if (!exists(source)) return std::nullopt;
  const Json json = read_json(source);
  ConfigReader reader(json, source);
  const auto length = reader.whole_or_null<Index>("max_seq_length", std::nullopt);
  if (length && *length < 1) reader.refuse("max_seq_length", *length, "1 or more, or null");
  if (reader.boolean_or_null("do_lower_case", false)) {
    reader.refuse("do_lower_case", true,
                  "false: lower case is not supported here; put a Lowercase normalizer into "
                  "tokenizer.json");
  }
  for (const auto& [key, wanted] :
       {std::pair("transformer_task", &task), {"module_output_name", &output}}) {
    const std::string found = reader.text(key, *wanted);
    if (found != *wanted) reader.refuse(key, found, *wanted);
  }
  if (const Json* changes = reader.object("processing_kwargs"); changes && !changes->empty()) {
    reader.refuse("processing_kwargs", *changes, "empty: it is not supported");
  }
  return length;
}

/// The text that config_sentence_transformers.json puts in front of every other; empty where it
/// names none. Throws ConfigError.
[[nodiscard]] inline std::string read_default_prompt(const Json& json, const std::string& source) {
  ConfigReader reader(json, source);
  const std::optional<std::string> name = reader.text_or_null("default_prompt_name");
  if (!name) return "";
  const Json* prompts = reader.object("prompts");
  const bool there =
      prompts != nullptr && prompts->contains(*name) && (*prompts)[*name].is_string();
  if (!there) reader.refuse("default_prompt_name", *name, "null or the name of one of 'prompts'");
  return (*prompts)[*name].get<std::string>();
}

/// The name of a module's class, of which newer versions have packages between:
/// "sentence_transformers.models.Pooling"; another's in full.
[[nodiscard]] inline std::string module_name(const std::string& type) {
  return type.starts_with("sentence_transformers.") ? type.substr(type.rfind('.') + 1) : type;
}

}  // namespace detail

/// A module after the pooling: a linear layer whose weights are in `folder`, or, where that is
/// empty, the division of each vector by its length.
struct SentenceModule {
  std::string folder;                        ///< holds the weights; empty: there are none
  Index in = 0;                              ///< numbers of a vector that goes in
  Index out = 0;                             ///< numbers of a vector that comes out
  bool bias = true;                          ///< whether the layer has one
  Activation activation = Activation::tanh;  ///< of the layer

  /// Whether it divides each vector by its length.
  [[nodiscard]] bool normalizes() const noexcept { return folder.empty(); }
};

/// How texts become embeddings.
struct SentenceConfig {
  std::string encoder_folder;           ///< holds the encoder and the tokenizer
  std::optional<Index> max_seq_length;  ///< in tokens, special ones counted; none: the tokenizer's
  std::string prompt;                   ///< goes in front of every text
  /// Each gives a vector; an embedding has them one after the other.
  std::vector<PoolingMode> pooling = {PoolingMode::mean};
  std::optional<Index> hidden_size;     ///< what the pooling asks of the encoder
  std::vector<SentenceModule> modules;  ///< after the pooling, in this order

  /// Reads the files in `folder`. Throws IoError, FormatError or ConfigError naming file and key.
  [[nodiscard]] static SentenceConfig from_pretrained(const std::string& folder) {
    SentenceConfig config;
    config.encoder_folder = folder;
    const std::string list = join_path(folder, "modules.json");
    if (exists(list)) config.read_modules(read_json(list), list, folder);
    config.max_seq_length = detail::read_max_seq_length(config.encoder_folder, "feature-extraction",
                                                        "token_embeddings");
    config.read_prompt(join_path(folder, "config_sentence_transformers.json"));
    return config;
  }

 private:
  void read_modules(const Json& list, const std::string& source, const std::string& folder) {
    check<ConfigError>(list.is_array() && list.size() >= 2, source,
                       ": must be a list of a Transformer, a Pooling and what follows them");
    bool pooled = false;
    for (std::size_t i = 0; i < list.size(); ++i) {
      ConfigReader reader(list[i], source);
      const std::string type = reader.text("type", "");
      const std::string path = module_folder(folder, reader.text("path", ""), source);
      const std::string name = detail::module_name(type);
      if (name == "Transformer" && i == 0) {
        encoder_folder = path;
      } else if (name == "Pooling" && i == 1) {
        pooled = true;
        read_pooling(join_path(path, "config.json"));
      } else if (name == "Normalize" && pooled) {
        read_normalize(join_path(path, "config.json"));
      } else if (name == "Dense" && pooled) {
        read_dense(path);
      } else {
        fail<ConfigError>(source, ": module ", i, " is '", type,
                          "', which is not supported there; a Transformer and a Pooling must come "
                          "first, then Dense and Normalize may");
      }
    }
  }

  /// A module's folder. As in sentence-transformers, it lies inside the model's.
  static std::string module_folder(const std::string& folder, const std::string& path,
                                   const std::string& source) {
    const bool inside =
        !path.starts_with('/') && concat("/", path, "/").find("/../") == std::string::npos;
    check<ConfigError>(inside, source, ": 'path' is '", detail::Printable{path},
                       "', which is not a folder inside the model's");
    return path.empty() ? folder : join_path(folder, path);
  }

  void read_pooling(const std::string& source) {
    const Json json = read_json(source);
    ConfigReader reader(json, source);
    hidden_size = reader.whole_or_null<Index>("word_embedding_dimension", std::nullopt);
    hidden_size = reader.whole_or_null<Index>("embedding_dimension", hidden_size);
    if (hidden_size && *hidden_size < 1) {
      reader.refuse("word_embedding_dimension", *hidden_size, "1 or more, or null");
    }
    includes_prompt_ = reader.boolean("include_prompt", true);
    pooling.clear();
    // One flag for each mode, or in newer versions a list of names.
    constexpr std::array flags = {
        "pooling_mode_cls_token",           "pooling_mode_max_tokens",
        "pooling_mode_mean_tokens",         "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
    for (std::size_t i = 0; i < flags.size(); ++i) {
      if (reader.boolean(flags[i], false)) pooling.push_back(static_cast<PoolingMode>(i));
    }
    if (json.contains("pooling_mode")) {
      const bool one = json["pooling_mode"].is_string();
      pooling.clear();
      for (const std::string& name :
           one ? std::vector{reader.text("pooling_mode", "")} : reader.texts("pooling_mode")) {
        const std::optional<PoolingMode> mode = find_pooling_mode(name);
        if (!mode) reader.refuse("pooling_mode", name, "a mode of sentence-transformers");
        pooling.push_back(*mode);
      }
    }
    if (pooling.empty()) pooling = {PoolingMode::mean};
    const Json rest = reader.rest();
    for (const auto& [key, value] : rest.items()) {
      if (key.starts_with("pooling_mode") && value != false) {
        reader.refuse(key, value, "false: this mode is not supported");
      }
    }
  }

  void read_normalize(const std::string& source) {
    if (exists(source)) {
      const Json json = read_json(source);
      ConfigReader reader(json, source);
      check_names(reader);
    }
    modules.emplace_back();
  }

  void read_dense(const std::string& folder) {
    const std::string source = join_path(folder, "config.json");
    const Json json = read_json(source);
    ConfigReader reader(json, source);
    check_names(reader);
    SentenceModule dense{folder, reader.whole<Index>("in_features", 0),
                         reader.whole<Index>("out_features", 0), reader.boolean("bias", true),
                         Activation::tanh};
    for (const auto& [key, size] :
         {std::pair("in_features", dense.in), {"out_features", dense.out}}) {
      if (size < 1 || size > (Index{1} << 24)) reader.refuse(key, size, "from 1 to 16777216");
    }
    if (reader.boolean("use_residual", false)) {
      reader.refuse("use_residual", true, "false: a residual connection is not supported");
    }
    const std::string function =
        reader.text("activation_function", "torch.nn.modules.activation.Tanh");
    const std::string name = function.substr(function.rfind('.') + 1);
    if (name == "Identity") {
      dense.activation = Activation::none;
    } else if (name == "GELU") {
      dense.activation = Activation::gelu;
    } else if (name == "ReLU") {
      dense.activation = Activation::relu;
    } else if (name == "SiLU") {
      dense.activation = Activation::silu;
    } else if (name != "Tanh") {
      reader.refuse("activation_function", function,
                    "Tanh, Identity, GELU, ReLU or SiLU of torch.nn");
    }
    modules.push_back(std::move(dense));
  }

  /// Throws unless a module turns embeddings into embeddings.
  static void check_names(ConfigReader& reader) {
    for (const char* key : {"module_input_name", "module_output_name"}) {
      const std::string name = reader.text_or_null(key).value_or("sentence_embedding");
      if (name != "sentence_embedding") reader.refuse(key, name, "sentence_embedding");
    }
  }

  void read_prompt(const std::string& source) {
    if (!exists(source)) return;
    prompt = detail::read_default_prompt(read_json(source), source);
    check<ConfigError>(includes_prompt_ || prompt.empty(), source, ": the prompt '",
                       detail::Printable{prompt},
                       "' is to be left out of the pooling (include_prompt is false), which is not "
                       "supported");
  }

  bool includes_prompt_ = true;
};

}  // namespace eigenformer
