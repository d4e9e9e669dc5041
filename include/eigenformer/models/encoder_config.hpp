// EncoderConfig: what config.json says about a model of BERT's shape, under BERT's key names. The
// families share the members and differ in what they call some of them in files, and in what a
// missing key means: the class default of Hugging Face transformers 5. Keys that the models do not
// know are kept and written back.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/activation.hpp"
#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/io/packed_file.hpp"
#include "eigenformer/models/config_reader.hpp"

namespace eigenformer {

/// What configurations differ in by their model_type.
struct EncoderFamily {
  std::string_view model_type;           ///< as config.json has it
  std::string_view classes;              ///< what the names of transformers' classes begin with
  std::string_view base;                 ///< the base model's name in checkpoints
  bool positions_after_padding;          ///< count from the padding id, see first_position()
  Index vocab_size;                      ///< where the key is missing, as those below
  TokenId pad_token_id;                  ///< of padding
  std::optional<TokenId> bos_token_id;   ///< of the start of a text
  std::optional<TokenId> eos_token_id;   ///< of the end of a text
  Index hidden_size = 768;               ///< features of a hidden state
  Index num_attention_heads = 12;        ///< heads
  Index intermediate_size = 3072;        ///< features inside the feed-forward network
  Index num_hidden_layers = 12;          ///< layers
  Index type_vocab_size = 2;             ///< types of tokens; 0: there are none
  std::string_view hidden_act = "gelu";  ///< of the feed-forward network
  double dropout_prob = 0.1;             ///< of hidden states and attention probabilities
  std::optional<double> classifier_dropout = {};    ///< none: that of hidden states
  std::span<const ConfigKey> keys = {};             ///< that have other names than BERT's
  std::span<const std::string_view> own_keys = {};  ///< that its models read from `extra`
};

/// DistilBERT's keys: no types of tokens, one epsilon for all, attention that is never causal.
inline constexpr ConfigKey distilbert_keys[] = {
    {"hidden_size", "dim", true},
    {"num_hidden_layers", "n_layers", true},
    {"num_attention_heads", "n_heads", true},
    {"intermediate_size", "hidden_dim"},
    {"hidden_act", "activation"},
    {"hidden_dropout_prob", "dropout"},
    {"attention_probs_dropout_prob", "attention_dropout"},
    {"type_vocab_size", ""},
    {"layer_norm_eps", ""},
    {"classifier_dropout", ""},
    {"position_embedding_type", ""},
    {"is_decoder", ""},
    {"add_cross_attention", ""},
    {"use_cache", ""},
};

/// Keys that BERT alone has.
inline constexpr std::string_view bert_own_keys[] = {"max_pair_targets"};

/// Keys that DistilBERT alone has.
inline constexpr std::string_view distilbert_own_keys[] = {"qa_dropout", "seq_classif_dropout",
                                                           "sinusoidal_pos_embds"};

/// Keys that ELECTRA alone has.
inline constexpr std::string_view electra_own_keys[] = {
    "embedding_size",        "summary_type",         "summary_use_proj",      "summary_activation",
    "summary_first_dropout", "summary_last_dropout", "summary_proj_to_labels"};

/// ALBERT's keys: attention that is never causal.
inline constexpr ConfigKey albert_keys[] = {
    {"classifier_dropout", "classifier_dropout_prob"},
    {"is_decoder", ""},
    {"add_cross_attention", ""},
    {"use_cache", ""},
};

/// Keys that ALBERT alone has.
inline constexpr std::string_view albert_own_keys[] = {"embedding_size", "num_hidden_groups",
                                                       "inner_group_num"};

/// The families that are known.
inline constexpr EncoderFamily encoder_families[] = {
    {"roberta", "Roberta", "roberta", true, 50265, 1, 0, 2},
    {"xlm-roberta", "XLMRoberta", "roberta", true, 30522, 1, 0, 2},
    {"camembert", "Camembert", "roberta", true, 30522, 1, 0, 2},
    {.model_type = "bert",
     .classes = "Bert",
     .base = "bert",
     .positions_after_padding = false,
     .vocab_size = 30522,
     .pad_token_id = 0,
     .bos_token_id = std::nullopt,
     .eos_token_id = std::nullopt,
     .own_keys = bert_own_keys},
    {.model_type = "distilbert",
     .classes = "DistilBert",
     .base = "distilbert",
     .positions_after_padding = false,
     .vocab_size = 30522,
     .pad_token_id = 0,
     .bos_token_id = std::nullopt,
     .eos_token_id = std::nullopt,
     .num_hidden_layers = 6,
     .type_vocab_size = 0,
     .keys = distilbert_keys,
     .own_keys = distilbert_own_keys},
    {.model_type = "electra",
     .classes = "Electra",
     .base = "electra",
     .positions_after_padding = false,
     .vocab_size = 30522,
     .pad_token_id = 0,
     .bos_token_id = std::nullopt,
     .eos_token_id = std::nullopt,
     .hidden_size = 256,
     .num_attention_heads = 4,
     .intermediate_size = 1024,
     .own_keys = electra_own_keys},
    {.model_type = "albert",
     .classes = "Albert",
     .base = "albert",
     .positions_after_padding = false,
     .vocab_size = 30000,
     .pad_token_id = 0,
     .bos_token_id = 2,
     .eos_token_id = 3,
     .hidden_size = 4096,
     .num_attention_heads = 64,
     .intermediate_size = 16384,
     .hidden_act = "gelu_new",
     .dropout_prob = 0,
     .classifier_dropout = 0.1,
     .keys = albert_keys,
     .own_keys = albert_own_keys},
};

/// The family of that model_type, or null.
[[nodiscard]] constexpr const EncoderFamily* find_family(std::string_view model_type) noexcept {
  for (const EncoderFamily& family : encoder_families) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

/// The configuration of a model; members are named as the keys of config.json. A fresh one has
/// RoBERTa's defaults, which are not the values of any published model (layer_norm_eps 1e-12, 512
/// positions, 2 types); of_family() has those of another.
struct EncoderConfig {
  /// Larger sizes are refused: they are mistakes, and memory would be asked for before a file is
  /// found not to fit. This one is of hidden_size, and 16 times it of intermediate_size.
  static constexpr Index max_features = Index{1} << 20;
  static constexpr Index max_rows = 2147483647;        ///< of each embedding table
  static constexpr Index max_layers = 10000;           ///< of num_hidden_layers
  static constexpr Index max_labels = Index{1} << 20;  ///< of num_labels

  std::string model_type = "roberta";  ///< one of encoder_families
  /// The class that saved it comes first; with_model() reads it.
  std::vector<std::string> architectures = {};

  Index vocab_size = 50265;                  ///< rows of the word embeddings
  Index hidden_size = 768;                   ///< features of a hidden state
  Index num_hidden_layers = 12;              ///< encoder layers
  Index num_attention_heads = 12;            ///< must divide hidden_size
  Index intermediate_size = 3072;            ///< features inside the feed-forward network
  Activation hidden_act = Activation::gelu;  ///< of the feed-forward network
  std::string hidden_act_name = "gelu";      ///< as the file spells it
  Index max_position_embeddings = 512;       ///< rows of the table; see max_tokens() for texts
  /// Rows of the type embeddings; RoBERTa's published models have 1. 0: DistilBERT has none.
  Index type_vocab_size = 2;
  double layer_norm_eps = 1e-12;     ///< of every layer norm; RoBERTa's published ones have 1e-5
  double initializer_range = 0.02;   ///< standard deviation of fresh weights
  double hidden_dropout_prob = 0.1;  ///< of embeddings and sub-layers, in training
  double attention_probs_dropout_prob = 0.1;         ///< of attention probabilities, in training
  std::optional<double> classifier_dropout = {};     ///< absent: hidden_dropout_prob
  std::optional<TokenId> pad_token_id = 1;           ///< see padding_id() and first_position()
  std::optional<TokenId> bos_token_id = 0;           ///< not used by the model
  std::vector<TokenId> eos_token_id = {2};           ///< not used by the model; empty: null
  bool tie_word_embeddings = true;                   ///< the decoder is the word embedding
  std::string position_embedding_type = "absolute";  ///< no other is supported

  bool is_decoder = false;            ///< attention is causal
  bool add_cross_attention = false;   ///< true is refused
  bool is_encoder_decoder = false;    ///< kept, no effect
  bool use_cache = true;              ///< kept, no effect
  bool output_hidden_states = false;  ///< kept, no effect: outputs are asked for per call
  bool output_attentions = false;     ///< kept, no effect
  bool return_dict = true;            ///< kept, no effect
  Index chunk_size_feed_forward = 0;  ///< kept, no effect on the numbers

  Index num_labels = 2;                        ///< of a classifier
  std::map<Index, std::string> id2label = {};  ///< empty: LABEL_0, LABEL_1, ...
  std::map<std::string, Index> label2id = {};  ///< empty: the inverse of id2label
  /// `regression`, `single_label_classification` or `multi_label_classification`; absent: guessed
  /// from num_labels and the targets.
  std::optional<std::string> problem_type = {};

  std::optional<std::string> dtype = {};  ///< of the saved weights; kept, not used for loading
  std::optional<std::string> transformers_version = {};  ///< that saved the file; kept, no effect

  /// Keys that are not named above, among them those that the family alone has.
  Json extra = Json::object();

  std::string source = "RobertaConfig";  ///< what errors call it: the file that it was read from

  /// A configuration with the defaults of a model_type. Throws ConfigError for one that is unknown.
  [[nodiscard]] static EncoderConfig of_family(std::string_view model_type) {
    EncoderConfig config;
    config.model_type = model_type;
    const EncoderFamily& family = config.family();
    config.source = concat(family.classes, "Config");
    config.vocab_size = family.vocab_size;
    config.pad_token_id = family.pad_token_id;
    config.bos_token_id = family.bos_token_id;
    config.hidden_size = family.hidden_size;
    config.num_hidden_layers = family.num_hidden_layers;
    config.num_attention_heads = family.num_attention_heads;
    config.intermediate_size = family.intermediate_size;
    config.type_vocab_size = family.type_vocab_size;
    config.hidden_act_name = family.hidden_act;
    config.hidden_act = activation_from_name(family.hidden_act);
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = family.dropout_prob;
    config.classifier_dropout = family.classifier_dropout;
    config.eos_token_id.clear();
    if (family.eos_token_id.has_value()) config.eos_token_id = {*family.eos_token_id};
    return config;
  }

  /// The family of `model_type`. Throws ConfigError for one that is unknown.
  [[nodiscard]] const EncoderFamily& family() const {
    const EncoderFamily* family = find_family(model_type);
    if (family == nullptr) refuse_model_type("");
    return *family;
  }

  /// Throws ConfigError unless it is for the models whose base model has that name, "roberta" say.
  void require_base(std::string_view base) const {
    if (family().base != base) refuse_model_type(base);
  }

  /// Features of one attention head.
  [[nodiscard]] Index head_size() const { return hidden_size / num_attention_heads; }

  /// The id that marks padding; throws ConfigError where pad_token_id is null.
  [[nodiscard]] TokenId padding_id() const {
    check<ConfigError>(
        pad_token_id.has_value(), source,
        ": 'pad_token_id' is null; RoBERTa counts its positions from the padding id, "
        "so the model needs it (1 in the published models)");
    return *pad_token_id;
  }

  /// The position of a text's first token: the padding id + 1 in RoBERTa, 0 in BERT.
  [[nodiscard]] Index first_position() const {
    return family().positions_after_padding ? Index{padding_id()} + 1 : 0;
  }

  /// The longest text in tokens, special ones counted.
  [[nodiscard]] Index max_tokens() const { return max_position_embeddings - first_position(); }

  /// The dropout before a classifier.
  [[nodiscard]] double classifier_dropout_prob() const {
    return classifier_dropout.value_or(hidden_dropout_prob);
  }

  /// The number of labels of a classifier; throws ConfigError where there is none.
  [[nodiscard]] Index labels() const {
    check<ConfigError>(num_labels > 0, source, ": 'num_labels' is 0; a classifier needs 1 or more");
    return num_labels;
  }

  /// What class `id` is called; `LABEL_<id>` where the file does not say.
  [[nodiscard]] std::string label(Index id) const {
    const auto found = id2label.find(id);
    return found != id2label.end() ? found->second : concat("LABEL_", id);
  }

  /// What transformers calls a model class of this family: class_name("ForMaskedLM") is
  /// "CamembertForMaskedLM" where model_type is "camembert".
  [[nodiscard]] std::string class_name(std::string_view suffix) const {
    return concat(family().classes, suffix);
  }

  /// A probability among the keys of the family alone; throws ConfigError for anything else.
  [[nodiscard]] double own_probability(const char* key, double absent) const {
    const double value = ConfigReader(extra, source).number(key, absent);
    check<ConfigError>(value >= 0 && value <= 1, source, ": '", key, "' is ", value,
                       "; it must be a probability from 0 to 1");
    return value;
  }

  /// A size from 1 to `most` among those keys; throws ConfigError for anything else.
  [[nodiscard]] Index own_size(const char* key, Index absent, Index most) const {
    const auto value = ConfigReader(extra, source).whole<Index>(key, absent);
    check<ConfigError>(value >= 1 && value <= most, source, ": '", key, "' is ", value,
                       "; it must be from 1 to ", most);
    return value;
  }

  /// The names of the keys that no model uses.
  [[nodiscard]] std::vector<std::string> unknown_keys() const {
    std::vector<std::string> names;
    for (const auto& [key, value] : extra.items()) {
      const auto is_key = [&name = key](std::string_view known) { return known == name; };
      if (std::ranges::none_of(family().own_keys, is_key)) names.push_back(key);
    }
    return names;
  }

  /// Reads config.json in a folder, or what a packed file holds of it; throws IoError, FormatError
  /// or ConfigError naming it. `usual_type` is as in from_json().
  [[nodiscard]] static EncoderConfig from_pretrained(const std::string& path,
                                                     std::string_view usual_type = "roberta") {
    const auto [json, source] = read_config(path);
    return from_json(json, source, usual_type);
  }
  /// The same from a packed file that is open.
  [[nodiscard]] static EncoderConfig from_packed(const PackedFile& file) {
    return from_json(parse_json(file.config(), file.path()), file.path());
  }

  /// Takes the values of a parsed config.json; throws ConfigError naming `source`, key and value.
  /// A missing model_type is that of the first class in `architectures`, else `usual_type`.
  [[nodiscard]] static EncoderConfig from_json(const Json& json, const std::string& source,
                                               std::string_view usual_type = "roberta") {
    ConfigReader about(json, source);
    std::vector<std::string> architectures = about.texts("architectures");
    for (const EncoderFamily& family : encoder_families) {
      if (!architectures.empty() && architectures.front().starts_with(family.classes)) {
        usual_type = family.model_type;
      }
    }
    EncoderConfig named;
    named.source = source;
    named.model_type = about.text("model_type", std::string(usual_type));
    EncoderConfig config = of_family(named.family().model_type);
    config.source = source;
    config.architectures = std::move(architectures);
    ConfigReader reader(json, source, config.family().keys);
    config.read_sizes(reader);
    config.read_details(reader);
    config.read_labels(reader);
    config.extra = reader.rest();
    for (const char* key : {"model_type", "architectures"}) config.extra.erase(key);
    config.validate();
    return config;
  }

  /// Throws ConfigError, naming `source`, key, value and what is allowed, unless a model can be
  /// built from this. from_json() calls it; call it yourself for a configuration made in code.
  void validate() const {
    const auto refuse = [&](std::string_view key, const auto& value, const auto&... allowed) {
      const std::string_view own = own_key(family().keys, key);
      fail<ConfigError>(source, ": '", own.empty() ? key : own, "' is ", value, "; it must be ",
                        allowed...);
    };
    const auto range = [&](std::string_view key, Index value, Index low, Index high) {
      if (value < low || value > high) refuse(key, value, "from ", low, " to ", high);
    };
    const auto fraction = [&](std::string_view key, double value) {
      if (!(value >= 0 && value <= 1)) refuse(key, value, "a probability from 0 to 1");
    };
    const auto quantity = [&](std::string_view key, double value) {
      if (!(value >= 0 && std::isfinite(value))) refuse(key, value, "0 or more, and finite");
    };
    const bool after_padding = family().positions_after_padding;
    range("vocab_size", vocab_size, 1, max_rows);
    range("hidden_size", hidden_size, 1, max_features);
    range("num_hidden_layers", num_hidden_layers, 0, max_layers);
    range("num_attention_heads", num_attention_heads, 1, max_features);
    range("intermediate_size", intermediate_size, 1, 16 * max_features);
    range("max_position_embeddings", max_position_embeddings, 1, max_rows);
    const bool typed = family().type_vocab_size > 0;
    range("type_vocab_size", type_vocab_size, typed ? 1 : 0, typed ? max_rows : 0);
    range("chunk_size_feed_forward", chunk_size_feed_forward, 0, max_rows);
    range("num_labels", num_labels, 0, max_labels);
    if (!id2label.empty() && static_cast<Index>(id2label.size()) != num_labels) {
      refuse("num_labels", num_labels, "the number of names in id2label, ", id2label.size());
    }
    if (hidden_size % num_attention_heads != 0) {
      refuse("hidden_size", hidden_size, "a multiple of ",
             own_key(family().keys, "num_attention_heads"), ", ", num_attention_heads);
    }
    if (pad_token_id.has_value()) {
      const Index pad = *pad_token_id;
      if (pad < 0 || pad >= vocab_size) {
        refuse("pad_token_id", pad, "an id from 0 to vocab_size - 1, ", vocab_size - 1);
      }
      if (after_padding && pad + 1 >= max_position_embeddings) {
        refuse("pad_token_id", pad, "less than max_position_embeddings - 1, ",
               max_position_embeddings - 1,
               ": positions start after the padding id, so none would be left");
      }
    }
    quantity("layer_norm_eps", layer_norm_eps);
    quantity("initializer_range", initializer_range);
    fraction("hidden_dropout_prob", hidden_dropout_prob);
    fraction("attention_probs_dropout_prob", attention_probs_dropout_prob);
    if (classifier_dropout.has_value()) {
      fraction("classifier_dropout", *classifier_dropout);
    } else if (family().classifier_dropout.has_value()) {
      refuse("classifier_dropout", "null", "a probability from 0 to 1");
    }
    if (position_embedding_type != "absolute") {
      refuse("position_embedding_type", position_embedding_type,
             "absolute: relative positions are not supported");
    }
    if (add_cross_attention) {
      refuse("add_cross_attention", true, "false: cross-attention is not supported here");
    }
    if (problem_type.has_value()) {
      if (*problem_type != "regression" && *problem_type != "single_label_classification" &&
          *problem_type != "multi_label_classification") {
        refuse("problem_type", *problem_type,
               "regression, single_label_classification, multi_label_classification or null");
      }
      if (*problem_type == "single_label_classification" && num_labels == 1) {
        refuse("problem_type", *problem_type, "regression where there is one label, or 2 labels");
      }
    }
  }

  /// The same as a model saves it: of the class with that suffix, and of numbers of that type.
  [[nodiscard]] Json saved_as(std::string_view suffix, const char* type) const {
    EncoderConfig config = *this;
    config.architectures = {class_name(suffix)};
    config.dtype = type;
    return config.to_json();
  }

  /// The configuration as config.json has it, every key written out; `extra` follows.
  [[nodiscard]] Json to_json() const {
    Json json = {{"model_type", model_type},
                 {"architectures", architectures},
                 {"vocab_size", vocab_size},
                 {"hidden_size", hidden_size},
                 {"num_hidden_layers", num_hidden_layers},
                 {"num_attention_heads", num_attention_heads},
                 {"intermediate_size", intermediate_size},
                 {"hidden_act", spelled_activation()},
                 {"max_position_embeddings", max_position_embeddings},
                 {"type_vocab_size", type_vocab_size},
                 {"layer_norm_eps", layer_norm_eps},
                 {"initializer_range", initializer_range},
                 {"hidden_dropout_prob", hidden_dropout_prob},
                 {"attention_probs_dropout_prob", attention_probs_dropout_prob},
                 {"classifier_dropout", or_null(classifier_dropout)},
                 {"pad_token_id", or_null(pad_token_id)},
                 {"bos_token_id", or_null(bos_token_id)},
                 {"eos_token_id", Json()},
                 {"tie_word_embeddings", tie_word_embeddings},
                 {"position_embedding_type", position_embedding_type},
                 {"is_decoder", is_decoder},
                 {"add_cross_attention", add_cross_attention},
                 {"use_cache", use_cache}};
    for (const ConfigKey& key : family().keys) {
      const Json value = json.at(std::string(key.name));
      json.erase(std::string(key.name));
      if (!key.own.empty()) json[std::string(key.own)] = value;
    }
    if (eos_token_id.size() == 1) json["eos_token_id"] = eos_token_id.front();
    if (eos_token_id.size() > 1) json["eos_token_id"] = eos_token_id;
    const EncoderConfig usual;
    if (is_encoder_decoder) json["is_encoder_decoder"] = true;
    if (output_hidden_states) json["output_hidden_states"] = true;
    if (output_attentions) json["output_attentions"] = true;
    if (!return_dict) json["return_dict"] = false;
    if (chunk_size_feed_forward != usual.chunk_size_feed_forward) {
      json["chunk_size_feed_forward"] = chunk_size_feed_forward;
    }
    if (num_labels != usual.num_labels || !id2label.empty() || !label2id.empty()) {
      json["id2label"] = Json::object();
      json["label2id"] = Json::object();
      for (Index id = 0; id < num_labels && id2label.empty(); ++id) {
        json["id2label"][std::to_string(id)] = label(id);
        json["label2id"][label(id)] = id;
      }
      for (const auto& [id, name] : id2label) {
        json["id2label"][std::to_string(id)] = name;
        if (label2id.empty()) json["label2id"][name] = id;
      }
      for (const auto& [name, id] : label2id) json["label2id"][name] = id;
    }
    if (problem_type.has_value()) json["problem_type"] = *problem_type;
    if (dtype.has_value()) json["dtype"] = *dtype;
    if (transformers_version.has_value()) json["transformers_version"] = *transformers_version;
    for (const auto& [key, value] : extra.items()) {
      if (!json.contains(key)) json[key] = value;
    }
    return json;
  }

 private:
  /// `base`: those of that base model alone are allowed; empty: all.
  [[noreturn, gnu::cold]] void refuse_model_type(std::string_view base) const {
    std::string allowed;
    for (const EncoderFamily& family : encoder_families) {
      if (!base.empty() && family.base != base) continue;
      allowed += concat(allowed.empty() ? "" : ", ", family.model_type);
    }
    fail<ConfigError>(source, ": 'model_type' is ", model_type, "; it must be one of ", allowed);
  }

  void read_sizes(ConfigReader& reader) {
    vocab_size = reader.whole("vocab_size", vocab_size);
    hidden_size = reader.whole("hidden_size", hidden_size);
    num_hidden_layers = reader.whole("num_hidden_layers", num_hidden_layers);
    num_attention_heads = reader.whole("num_attention_heads", num_attention_heads);
    intermediate_size = reader.whole("intermediate_size", intermediate_size);
    max_position_embeddings = reader.whole("max_position_embeddings", max_position_embeddings);
    type_vocab_size = reader.whole("type_vocab_size", type_vocab_size);
    chunk_size_feed_forward = reader.whole("chunk_size_feed_forward", chunk_size_feed_forward);
    pad_token_id = reader.whole_or_null("pad_token_id", pad_token_id);
    bos_token_id = reader.whole_or_null("bos_token_id", bos_token_id);
    eos_token_id = reader.wholes("eos_token_id", eos_token_id);
  }

  void read_details(ConfigReader& reader) {
    hidden_act_name = reader.text("hidden_act", hidden_act_name);
    try {
      hidden_act = activation_from_name(hidden_act_name);
    } catch (const ConfigError& problem) {
      fail<ConfigError>(reader.source(), ": '", own_key(family().keys, "hidden_act"),
                        "': ", std::string_view(problem.what()));
    }
    layer_norm_eps = reader.number("layer_norm_eps", layer_norm_eps);
    initializer_range = reader.number("initializer_range", initializer_range);
    hidden_dropout_prob = reader.number("hidden_dropout_prob", hidden_dropout_prob);
    attention_probs_dropout_prob =
        reader.number("attention_probs_dropout_prob", attention_probs_dropout_prob);
    classifier_dropout = reader.number_or_null("classifier_dropout", classifier_dropout);
    tie_word_embeddings = reader.boolean("tie_word_embeddings", tie_word_embeddings);
    position_embedding_type = reader.text("position_embedding_type", position_embedding_type);
    is_decoder = reader.boolean("is_decoder", is_decoder);
    add_cross_attention = reader.boolean("add_cross_attention", add_cross_attention);
    is_encoder_decoder = reader.boolean("is_encoder_decoder", is_encoder_decoder);
    use_cache = reader.boolean("use_cache", use_cache);
    output_hidden_states = reader.boolean_or_null("output_hidden_states", output_hidden_states);
    output_attentions = reader.boolean_or_null("output_attentions", output_attentions);
    return_dict = reader.boolean_or_null("return_dict", return_dict);
    const auto older_dtype = reader.text_or_null("torch_dtype");
    dtype = reader.text_or_null("dtype");
    if (!dtype.has_value()) dtype = older_dtype;
    transformers_version = reader.text_or_null("transformers_version");
  }

  // As HF: a num_labels that disagrees with id2label wins, and label2id alone says nothing.
  void read_labels(ConfigReader& reader) {
    problem_type = reader.text_or_null("problem_type");
    const auto stated = reader.whole_or_null<Index>("num_labels", std::nullopt);
    const Json* names = reader.object("id2label");
    const Json* ids = reader.object("label2id");
    if (names != nullptr) {
      for (const auto& [key, name] : names->items()) {
        if (!name.is_string()) reader.refuse("id2label", *names, "an object of strings");
        if (!id2label.emplace(label_id(reader, "id2label", key, *names), name).second) {
          reader.refuse("id2label", *names, concat("without two names for label ", key));
        }
      }
      num_labels = static_cast<Index>(id2label.size());
    }
    if (stated.has_value() && (names == nullptr || *stated != num_labels)) {
      num_labels = *stated;
      id2label.clear();
      names = nullptr;
    }
    if (names == nullptr || ids == nullptr) return;
    for (const auto& [name, id] : ids->items()) {
      const bool number = id.is_number_integer();
      if (!number && !id.is_string()) reader.refuse("label2id", *ids, "an object of label numbers");
      label2id[name] =
          label_id(reader, "label2id", number ? id.dump() : id.get<std::string>(), *ids);
    }
  }

  static Index label_id(const ConfigReader& reader, const char* key, const std::string& digits,
                        const Json& value) {
    const bool plain = !digits.empty() && digits.size() < 10 &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
    if (!plain) reader.refuse(key, value, concat("with label numbers from 0, not '", digits, "'"));
    return static_cast<Index>(std::stol(digits));
  }

  [[nodiscard]] std::string spelled_activation() const {
    if (activation_from_name(hidden_act_name) == hidden_act) return hidden_act_name;
    switch (hidden_act) {
      case Activation::none: return "linear";
      case Activation::gelu: return "gelu";
      case Activation::gelu_tanh: return "gelu_new";
      case Activation::relu: return "relu";
      case Activation::silu: return "silu";
      case Activation::tanh: return "tanh";
    }
    return hidden_act_name;
  }

  template <class Value>
  static Json or_null(const std::optional<Value>& value) {
    return value.has_value() ? Json(*value) : Json();
  }
};

/// A configuration of one family, `Family::model_type`; a fresh one has its defaults.
template <class Family>
struct FamilyConfig : EncoderConfig {
  /// The family's defaults.
  FamilyConfig() : FamilyConfig(of_family(Family::model_type)) {}
  /// Takes over a configuration. Throws ConfigError where its model_type is another.
  explicit FamilyConfig(EncoderConfig config) : EncoderConfig(std::move(config)) {
    require_base(find_family(Family::model_type)->base);
  }

  /// As EncoderConfig's functions of these names, for a file that may lack a model_type.
  [[nodiscard]] static FamilyConfig from_pretrained(const std::string& path) {
    return FamilyConfig(EncoderConfig::from_pretrained(path, Family::model_type));
  }
  /// From a parsed config.json.
  [[nodiscard]] static FamilyConfig from_json(const Json& json, const std::string& source) {
    return FamilyConfig(EncoderConfig::from_json(json, source, Family::model_type));
  }
};

}  // namespace eigenformer
