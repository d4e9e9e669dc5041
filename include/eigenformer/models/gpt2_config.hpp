// GPT2Config: what config.json says about a GPT-2 model, under its own key names. Radford et al.
// 2019, "Language Models are Unsupervised Multitask Learners".
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/activation.hpp"
#include "eigenformer/models/encoder_config.hpp"

namespace eigenformer {

/// The configuration of a model; members are named as the keys of config.json. A fresh one has the
/// class defaults of transformers 5, which are those of the smallest published model.
struct GPT2Config {
  static constexpr std::string_view model_type = "gpt2";  ///< as config.json has it
  /// The class that saved it comes first; with_model() reads it.
  std::vector<std::string> architectures = {};

  Index vocab_size = 50257;                      ///< rows of the word embeddings
  Index n_positions = 1024;                      ///< the longest text in tokens
  Index n_embd = 768;                            ///< features of a hidden state
  Index n_layer = 12;                            ///< layers
  Index n_head = 12;                             ///< must divide n_embd
  std::optional<Index> n_inner = {};             ///< see inner_size()
  std::string activation_function = "gelu_new";  ///< see activation()
  double layer_norm_epsilon = 1e-5;              ///< of every layer norm
  double initializer_range = 0.02;               ///< standard deviation of fresh weights
  double resid_pdrop = 0.1;                      ///< dropout of sub-layers, in training
  double embd_pdrop = 0.1;                       ///< of the embeddings
  double attn_pdrop = 0.1;                       ///< of attention probabilities
  bool scale_attn_weights = true;                ///< false: scores are not divided by sqrt(size)
  bool scale_attn_by_inverse_layer_idx = false;  ///< scores are divided by the layer's number
  bool reorder_and_upcast_attn = false;          ///< no effect: no score is in less than float
  bool add_cross_attention = false;              ///< true is refused
  bool tie_word_embeddings = true;               ///< the head is the word embedding
  std::optional<TokenId> bos_token_id = 50256;   ///< not used by the model
  std::vector<TokenId> eos_token_id = {50256};   ///< ends a text in generation; empty: null
  std::optional<TokenId> pad_token_id = {};      ///< not used by the model

  std::optional<std::string> dtype = {};  ///< of the saved weights; kept, not used for loading
  Json extra = Json::object();            ///< keys that are not named above

  std::string source = "GPT2Config";  ///< what errors call it: the file that it was read from

  /// Whether a configuration is for GPT-2: its model_type says so, or its class where it has none.
  [[nodiscard]] static bool describes(const Json& json) {
    if (!json.is_object()) return false;
    const auto type = json.find("model_type");
    if (type != json.end()) return *type == model_type;
    const auto classes = json.find("architectures");
    return classes != json.end() && classes->is_array() && !classes->empty() &&
           classes->front().is_string() &&
           classes->front().get_ref<const std::string&>().starts_with("GPT2");
  }

  /// Reads config.json in a folder, or what a packed file holds of it; throws IoError, FormatError
  /// or ConfigError naming it.
  [[nodiscard]] static GPT2Config from_pretrained(const std::string& path,
                                                  std::string_view /*usual_type*/ = model_type) {
    const auto [json, source] = read_config(path);
    return from_json(json, source);
  }
  /// The same from a packed file that is open.
  [[nodiscard]] static GPT2Config from_packed(const PackedFile& file) {
    return from_json(parse_json(file.config(), file.path()), file.path());
  }

  /// Takes the values of a parsed config.json; throws ConfigError naming `source`, key and value.
  [[nodiscard]] static GPT2Config from_json(const Json& json, const std::string& source) {
    ConfigReader reader(json, source);
    GPT2Config config;
    config.source = source;
    const std::string type = reader.text("model_type", std::string(model_type));
    check<ConfigError>(type == model_type, source, ": 'model_type' is ", type, "; it must be ",
                       model_type);
    config.architectures = reader.texts("architectures");
    config.vocab_size = reader.whole("vocab_size", config.vocab_size);
    // transformers takes the general names too.
    const auto size = [&](const char* key, const char* general, Index absent) {
      const Index stated = reader.whole(general, absent);
      return reader.whole(key, stated);
    };
    config.n_positions = size("n_positions", "max_position_embeddings", config.n_positions);
    config.n_embd = size("n_embd", "hidden_size", config.n_embd);
    config.n_layer = size("n_layer", "num_hidden_layers", config.n_layer);
    config.n_head = size("n_head", "num_attention_heads", config.n_head);
    config.n_inner = reader.whole_or_null("n_inner", config.n_inner);
    config.activation_function = reader.text("activation_function", config.activation_function);
    const auto number = [&](const char* key, double& value) { value = reader.number(key, value); };
    number("layer_norm_epsilon", config.layer_norm_epsilon);
    number("initializer_range", config.initializer_range);
    number("resid_pdrop", config.resid_pdrop);
    number("embd_pdrop", config.embd_pdrop);
    number("attn_pdrop", config.attn_pdrop);
    const auto flag = [&](const char* key, bool& value) { value = reader.boolean(key, value); };
    flag("scale_attn_weights", config.scale_attn_weights);
    flag("scale_attn_by_inverse_layer_idx", config.scale_attn_by_inverse_layer_idx);
    flag("reorder_and_upcast_attn", config.reorder_and_upcast_attn);
    flag("add_cross_attention", config.add_cross_attention);
    flag("tie_word_embeddings", config.tie_word_embeddings);
    config.bos_token_id = reader.whole_or_null("bos_token_id", config.bos_token_id);
    config.eos_token_id = reader.wholes("eos_token_id", config.eos_token_id);
    config.pad_token_id = reader.whole_or_null("pad_token_id", config.pad_token_id);
    const auto older_dtype = reader.text_or_null("torch_dtype");
    config.dtype = reader.text_or_null("dtype");
    if (!config.dtype.has_value()) config.dtype = older_dtype;
    config.extra = reader.rest();
    config.validate();
    return config;
  }

  /// Throws ConfigError, naming `source`, key, value and what is allowed, unless a model can be
  /// built from this.
  void validate() const {
    const auto refuse = [&](std::string_view key, const auto& value, const auto&... allowed) {
      fail<ConfigError>(source, ": '", key, "' is ", value, "; it must be ", allowed...);
    };
    const auto range = [&](std::string_view key, Index value, Index low, Index high) {
      if (value < low || value > high) refuse(key, value, "from ", low, " to ", high);
    };
    const auto number = [&](std::string_view key, double value, double high, const char* allowed) {
      if (!(value >= 0 && value <= high && std::isfinite(value))) refuse(key, value, allowed);
    };
    range("vocab_size", vocab_size, 1, EncoderConfig::max_rows);
    range("n_positions", n_positions, 1, EncoderConfig::max_rows);
    range("n_embd", n_embd, 1, EncoderConfig::max_features);
    range("n_layer", n_layer, 0, EncoderConfig::max_layers);
    range("n_head", n_head, 1, EncoderConfig::max_features);
    range("n_inner", inner_size(), 1, 16 * EncoderConfig::max_features);
    if (n_embd % n_head != 0) refuse("n_embd", n_embd, "a multiple of n_head, ", n_head);
    for (const auto& [key, value] : {std::pair("resid_pdrop", resid_pdrop),
                                     {"embd_pdrop", embd_pdrop},
                                     {"attn_pdrop", attn_pdrop}}) {
      number(key, value, 1, "a probability from 0 to 1");
    }
    number("layer_norm_epsilon", layer_norm_epsilon, HUGE_VAL, "0 or more, and finite");
    number("initializer_range", initializer_range, HUGE_VAL, "0 or more, and finite");
    if (add_cross_attention) {
      refuse("add_cross_attention", true, "false: cross-attention is not supported here");
    }
    (void)activation();
  }

  /// Features inside the feed-forward network: n_inner, by default 4 n_embd.
  [[nodiscard]] Index inner_size() const { return n_inner.value_or(4 * n_embd); }
  /// Of the feed-forward network. Throws ConfigError for one that is not supported.
  [[nodiscard]] Activation activation() const {
    try {
      return activation_from_name(activation_function);
    } catch (const ConfigError& problem) {
      fail<ConfigError>(source, ": 'activation_function': ", std::string_view(problem.what()));
    }
  }
  /// What layer `i`, from 0, multiplies its attention scores with.
  [[nodiscard]] double attention_scale(Index i) const {
    const Index head_size = n_embd / n_head;
    const double scale = scale_attn_weights ? 1 / std::sqrt(static_cast<double>(head_size)) : 1;
    return scale_attn_by_inverse_layer_idx ? scale / static_cast<double>(i + 1) : scale;
  }
  /// The longest text in tokens.
  [[nodiscard]] Index max_tokens() const { return n_positions; }
  /// What transformers calls a model class: class_name("Model") is "GPT2Model".
  [[nodiscard]] std::string class_name(std::string_view suffix) const {
    return concat("GPT2", suffix);
  }
  /// The names of the keys that no model uses.
  [[nodiscard]] std::vector<std::string> unknown_keys() const {
    std::vector<std::string> names;
    for (const auto& [key, value] : extra.items()) names.push_back(key);
    return names;
  }

  /// The same as a model saves it: of the class with that suffix, and of numbers of that type.
  [[nodiscard]] Json saved_as(std::string_view suffix, const char* type) const {
    GPT2Config config = *this;
    config.architectures = {class_name(suffix)};
    config.dtype = type;
    return config.to_json();
  }

  /// The configuration as config.json has it, every key written out; `extra` follows.
  [[nodiscard]] Json to_json() const {
    const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(); };
    Json json = {{"model_type", model_type},
                 {"architectures", architectures},
                 {"vocab_size", vocab_size},
                 {"n_positions", n_positions},
                 {"n_embd", n_embd},
                 {"n_layer", n_layer},
                 {"n_head", n_head},
                 {"n_inner", or_null(n_inner)},
                 {"activation_function", activation_function},
                 {"layer_norm_epsilon", layer_norm_epsilon},
                 {"initializer_range", initializer_range},
                 {"resid_pdrop", resid_pdrop},
                 {"embd_pdrop", embd_pdrop},
                 {"attn_pdrop", attn_pdrop},
                 {"scale_attn_weights", scale_attn_weights},
                 {"scale_attn_by_inverse_layer_idx", scale_attn_by_inverse_layer_idx},
                 {"reorder_and_upcast_attn", reorder_and_upcast_attn},
                 {"add_cross_attention", add_cross_attention},
                 {"tie_word_embeddings", tie_word_embeddings},
                 {"bos_token_id", or_null(bos_token_id)},
                 {"eos_token_id", Json()},
                 {"pad_token_id", or_null(pad_token_id)}};
    if (eos_token_id.size() == 1) json["eos_token_id"] = eos_token_id.front();
    if (eos_token_id.size() > 1) json["eos_token_id"] = eos_token_id;
    if (dtype.has_value()) json["dtype"] = *dtype;
    for (const auto& [key, value] : extra.items()) {
      if (!json.contains(key)) json[key] = value;
    }
    return json;
  }
};

}  // namespace eigenformer
