// RoBERTa (Liu et al., arXiv:1907.11692): BERT's encoder with position ids that start after the
// padding id. XLM-RoBERTa and CamemBERT are the same model under other names.
// Mirrors transformers/models/roberta/modeling_roberta.py.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/models/loading.hpp"
#include "eigenformer/models/packed_model.hpp"
#include "eigenformer/models/roberta_config.hpp"
#include "eigenformer/nn/embedding.hpp"
#include "eigenformer/nn/encoder_layer.hpp"

namespace eigenformer {

/// Word, position and type embeddings, added and normalised.
template <class Scalar>
class RobertaEmbeddings {
 public:
  /// Draws the tables. Throws ConfigError where `pad_token_id` is null.
  RobertaEmbeddings(const RobertaConfig& config, const Initializer& init)
      : word_(config.vocab_size, config.hidden_size, config.padding_id(), init),
        position_(config.max_position_embeddings, config.hidden_size, config.padding_id(), init),
        type_(config.type_vocab_size, config.hidden_size, -1, init),
        norm_(config.hidden_size, config.layer_norm_eps, init),
        padding_(config.padding_id()),
        most_tokens_(config.max_tokens()),
        dropout_(config.hidden_dropout_prob) {}

  /// `[tokens, hidden]`. Throws ShapeError for ids, types and texts beyond the tables.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    Tensor<TokenId> numbers = cx.empty<TokenId>({2, batch.tokens()});
    const std::span<TokenId> positions(numbers.data(), batch.ids.size());
    const std::span<TokenId> zeros(numbers.data() + batch.tokens(), batch.ids.size());
    position_ids(batch, padding_, positions);
    std::fill(zeros.begin(), zeros.end(), 0);
    const std::span<const TokenId> types =
        batch.type_ids.empty() ? std::span<const TokenId>(zeros) : batch.type_ids;
    const Index last =
        positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end());
    check<ShapeError>(last <= padding_ + most_tokens_, "roberta: a text of ", last - padding_,
                      " tokens is longer than the ", most_tokens_,
                      " that the model takes; truncate it");
    const Tensor<Scalar> sum =
        embedding_sum<Scalar>(cx, {word_.lookup(cx, batch.ids), type_.lookup(cx, types),
                                   position_.lookup(cx, positions)});  // [tokens, hidden]
    return dropout(cx, norm_(cx, sum), dropout_);
  }

  /// Positions `[tokens]`: padding + 1, padding + 2, ... over each text, where tokens that are
  /// `padding` have position `padding` and are not counted.
  [[nodiscard]] static std::vector<TokenId> position_ids(const Batch& batch, TokenId padding) {
    std::vector<TokenId> positions(batch.ids.size());
    position_ids(batch, padding, positions);
    return positions;
  }
  /// The same into `positions`, as long as the batch has tokens.
  static void position_ids(const Batch& batch, TokenId padding, std::span<TokenId> positions) {
    std::fill(positions.begin(), positions.end(), padding);
    for (std::size_t i = 0; i + 1 < batch.offsets.size(); ++i) {
      TokenId position = padding;
      for (Index t = batch.offsets[i]; t < batch.offsets[i + 1]; ++t) {
        const auto at = static_cast<std::size_t>(t);
        if (batch.ids[at] != padding) positions[at] = ++position;
      }
    }
  }

  /// The norm that the outputs come from.
  [[nodiscard]] const LayerNorm<Scalar>& norm() const noexcept { return norm_; }
  /// The word embeddings, `[vocab, hidden]`.
  [[nodiscard]] const Embedding<Scalar>& word() const noexcept { return word_; }
  /// The same, to change them.
  [[nodiscard]] Embedding<Scalar>& word() noexcept { return word_; }

  /// Visits `word_embeddings`, `position_embeddings`, `token_type_embeddings` and `LayerNorm`.
  static void visit(auto& self, auto&& f) {
    f("word_embeddings", self.word_);
    f("position_embeddings", self.position_);
    f("token_type_embeddings", self.type_);
    f("LayerNorm", self.norm_);
  }

 private:
  Embedding<Scalar> word_;
  Embedding<Scalar> position_;
  Embedding<Scalar> type_;
  LayerNorm<Scalar> norm_;
  TokenId padding_;
  Index most_tokens_;
  double dropout_;
};

/// The row of each text's first token, which poolers and classifiers read. Throws ShapeError for an
/// empty text.
[[nodiscard]] inline std::span<const Index> first_tokens(const Batch& batch) {
  batch.validate();
  for (Index i = 0; i < batch.segments(); ++i) {
    check<ShapeError>(batch.segment(i).size() > 0, "first token: text ", i, " has no tokens");
  }
  return std::span(batch.offsets).first(batch.offsets.size() - 1);
}

/// tanh(dense(h)) of each text's first token.
template <class Scalar>
class RobertaPooler {
 public:
  /// Draws the layer's weights.
  RobertaPooler(const RobertaConfig& config, const Initializer& init)
      : dense_(config.hidden_size, config.hidden_size, init) {}

  /// Hidden states of first tokens, `[segments, hidden]` to `[segments, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& first) const {
    return dense_(cx, first, Activation::tanh);
  }

  /// As RobertaModel::pack.
  void pack(ThreadPool& threads, Precision precision) { dense_.pack(threads, precision); }

  /// Visits `dense`.
  static void visit(auto& self, auto&& f) { f("dense", self.dense_); }

 private:
  Linear<Scalar> dense_;
};

/// What RobertaModel::forward keeps beside its result.
struct RobertaOutputOptions {
  bool hidden_states = false;  ///< the embeddings' output and each layer's
  bool attentions = false;     ///< each layer's attention probabilities
};

/// Everything that the encoder computed.
template <class Scalar>
struct RobertaOutput {
  Tensor<Scalar> last_hidden_state;                        ///< `[tokens, hidden]`
  Tensor<Scalar> pooler_output;                            ///< `[segments, hidden]`, or undefined
  std::vector<Tensor<Scalar>> hidden_states;               ///< the embeddings' and each layer's
  std::vector<AttentionProbabilities<Scalar>> attentions;  ///< `[layer][segment]`: `[heads, n, n]`
};

/// The encoder, with a pooler where there is one. Attention is causal where `is_decoder` is true.
template <class Scalar>
class RobertaModel {
 public:
  static constexpr std::string_view suffix = "Model";  ///< its name without the family's

  /// A model with fresh weights. Throws ConfigError.
  explicit RobertaModel(const RobertaConfig& config, bool pooler = true)
      : RobertaModel(config, pooler, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  RobertaModel(const RobertaConfig& config, bool pooler, const Initializer& init)
      : config_(config), embeddings_(config, init) {
    config.validate();
    encoder_.layer.reserve(static_cast<std::size_t>(config.num_hidden_layers));
    for (Index i = 0; i < config.num_hidden_layers; ++i) {
      encoder_.layer.emplace_back(
          EncoderLayerOptions{.hidden = config.hidden_size,
                              .heads = config.num_attention_heads,
                              .intermediate = config.intermediate_size,
                              .activation = config.hidden_act,
                              .norm_eps = config.layer_norm_eps,
                              .dropout = config.hidden_dropout_prob,
                              .attention_dropout = config.attention_probs_dropout_prob,
                              .causal = config.is_decoder},
          init);
    }
    if (pooler) pooler_.emplace(config, init);
  }

  /// Loads a published folder or maps a packed file, a headed one too. The pooler is there if one
  /// is held, or from a folder fresh with `initialize_missing_head`. Throws IoError, FormatError or
  /// ConfigError.
  [[nodiscard]] static RobertaModel from_pretrained(const std::string& path,
                                                    const LoadOptions& options = {}) {
    if (is_file(path)) return from_packed(open_packed<Scalar>(path, options));
    const auto [config, checkpoint] = open_folder<RobertaConfig>(path);
    const CheckpointKeys keys(checkpoint, "roberta");
    const bool pooler = options.initialize_missing_head || keys.contains("pooler.dense.weight");
    RobertaModel model(config, pooler, Initializer::none());
    model.report_ = load_parameters(model, keys, options, config.initializer_range);
    pack_as_asked(model, options, checkpoint);
    return model;
  }

  /// Packs the weights of all linear layers for inference, and gives their numbers up: training,
  /// saving and changing them are errors from now on. Throws ConfigError for a reduced precision of
  /// another scalar than float.
  void pack(ThreadPool& threads, Precision precision) {
    const LayerNorm<Scalar>* norm = &embeddings_.norm();
    for (EncoderLayer<Scalar>& layer : encoder_.layer) {
      layer.pack(threads, precision, norm);
      norm = &layer.output_norm();
    }
    if (pooler_.has_value()) pooler_->pack(threads, precision);
  }

  /// How a checkpoint's names and shapes fit the configuration; loads nothing.
  [[nodiscard]] static KeyMatch match(const RobertaConfig& config, const Checkpoint& checkpoint,
                                      bool pooler = true) {
    const RobertaModel model(config, pooler, Initializer::none());
    return match_keys(model, CheckpointKeys(checkpoint, "roberta"));
  }

  /// Writes config.json and model.safetensors, which transformers loads; both at once, or neither.
  void save_pretrained(const std::string& folder) const {
    FolderUpdate update(folder);
    save_pretrained(update);
    update.commit();
  }
  /// The same as part of an update, which may hold the tokenizer too.
  void save_pretrained(const FolderUpdate& update) const {
    save_model(*this, config_.saved_as(suffix, saved_dtype<Scalar>), update);
  }
  /// Writes a model that was packed as one file, which from_pretrained maps.
  void save_packed(const std::string& path) const {
    eigenformer::save_packed(*this, config_.saved_as(suffix, saved_dtype<Scalar>), path);
  }

  /// Hidden states of the last layer, `[tokens, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    return encode(cx, batch, {}, nullptr);
  }

  /// The same for some rows of the batch alone, in rising order: `[rows, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> rows) const {
    return encode(cx, batch, {}, nullptr, rows);
  }

  /// The same with the pooler's output, and every layer's states and probabilities on request.
  [[nodiscard]] RobertaOutput<Scalar> forward(Context& cx, const Batch& batch,
                                              const RobertaOutputOptions& options = {}) const {
    RobertaOutput<Scalar> output;
    output.last_hidden_state = encode(cx, batch, options, &output);
    if (pooler_.has_value()) {
      output.pooler_output =
          (*pooler_)(cx, gather_rows(cx, output.last_hidden_state, first_tokens(batch)));
    }
    return output;
  }

  /// What the model was made from.
  [[nodiscard]] const RobertaConfig& config() const noexcept { return config_; }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept { return report_; }
  /// The word embeddings, `[vocab, hidden]`.
  [[nodiscard]] const Embedding<Scalar>& word_embeddings() const noexcept {
    return embeddings_.word();
  }
  /// The same, to change them.
  [[nodiscard]] Embedding<Scalar>& word_embeddings() noexcept { return embeddings_.word(); }
  /// The pooler, where there is one.
  [[nodiscard]] const std::optional<RobertaPooler<Scalar>>& pooler() const noexcept {
    return pooler_;
  }
  /// Makes a pooler, where there is none.
  void add_pooler(const Initializer& init) {
    if (!pooler_.has_value()) pooler_.emplace(config_, init);
  }

  /// Visits `embeddings`, `encoder` and, where there is one, `pooler`.
  static void visit(auto& self, auto&& f) {
    f("embeddings", self.embeddings_);
    f("encoder", self.encoder_);
    f("pooler", self.pooler_);
  }

 private:
  static RobertaModel from_packed(const PackedFile& file) {
    const RobertaConfig config = RobertaConfig::from_packed(file);
    const bool base = config.architectures == std::vector{config.class_name(suffix)};
    const std::string prefix = base ? "" : "roberta.";
    const bool pooler = file.contains(prefix + "pooler.dense.weight");
    RobertaModel model(config, pooler, Initializer::none());
    load_packed(model, file, prefix);
    return model;
  }

  struct Encoder {
    std::vector<EncoderLayer<Scalar>> layer;
    static void visit(auto& self, auto&& f) { f("layer", self.layer); }
  };

  Tensor<Scalar> encode(Context& cx, const Batch& batch, const RobertaOutputOptions& options,
                        RobertaOutput<Scalar>* output,
                        std::optional<std::span<const Index>> rows = {}) const {
    batch.validate();
    const Sequences sequences(batch);
    const bool keeps_states = output != nullptr && options.hidden_states;
    const bool keeps_attentions = output != nullptr && options.attentions;
    Tensor<Scalar> x = embeddings_(cx, batch);  // [tokens, hidden]
    if (keeps_states) output->hidden_states.push_back(x);
    for (const EncoderLayer<Scalar>& layer : encoder_.layer) {
      if (rows && &layer == &encoder_.layer.back()) return layer(cx, x, sequences, *rows);
      x = layer(cx, x, sequences, keeps_attentions ? &output->attentions.emplace_back() : nullptr);
      if (keeps_states) output->hidden_states.push_back(x);
    }
    return rows ? gather_rows(cx, x, *rows) : x;
  }

  RobertaConfig config_;
  RobertaEmbeddings<Scalar> embeddings_;
  Encoder encoder_;
  std::optional<RobertaPooler<Scalar>> pooler_;
  LoadReport report_;
};

/// What all heads on the encoder share, as transformers' class of this name: loading, saving,
/// packing. `Model` derives from it and has
///   suffix: its name without the family's, such as "ForMaskedLM";
///   Model(config, init) and visit_head(self, f): its own layers;
///   head(cx, hidden): hidden states `[rows, hidden]` to its outputs;
///   reads_first_tokens: whether head() takes the rows of first tokens alone.
/// It may replace the protected functions by its own.
template <class Scalar, class Model>
class RobertaPreTrainedModel {
 public:
  /// Whether head() takes the rows of first tokens alone.
  static constexpr bool reads_first_tokens = false;

  /// Loads a published folder or maps a packed file. Throws IoError, FormatError or ConfigError.
  [[nodiscard]] static Model from_pretrained(const std::string& path,
                                             const LoadOptions& options = {}) {
    if (is_file(path)) return from_packed(open_packed<Scalar>(path, options));
    const auto [config, checkpoint] = open_folder<RobertaConfig>(path);
    return from_checkpoint(config, checkpoint, options);
  }
  /// The same for a folder, with another configuration than its own: more labels, say.
  [[nodiscard]] static Model from_pretrained(const std::string& folder, const RobertaConfig& config,
                                             const LoadOptions& options) {
    return from_checkpoint(config, Checkpoint::open(folder), options);
  }

  /// As RobertaModel::pack.
  void pack(ThreadPool& threads, Precision precision) {
    roberta_.pack(threads, precision);
    self().pack_head(threads, precision);
  }

  /// How a checkpoint's names and shapes fit the configuration; loads nothing.
  [[nodiscard]] static KeyMatch match(const RobertaConfig& config, const Checkpoint& checkpoint) {
    const CheckpointKeys keys = Model::keys_of(config, checkpoint);
    const Model model = Model::unloaded(config, keys);
    return match_keys(model, keys);
  }

  /// As RobertaModel's functions of this name.
  void save_pretrained(const std::string& folder) const {
    FolderUpdate update(folder);
    save_pretrained(update);
    update.commit();
  }
  /// As part of an update.
  void save_pretrained(const FolderUpdate& update) const {
    save_model(self(), config().saved_as(Model::suffix, saved_dtype<Scalar>), update);
  }
  /// Writes a model that was packed as one file, which from_pretrained maps.
  void save_packed(const std::string& path) const {
    eigenformer::save_packed(self(), config().saved_as(Model::suffix, saved_dtype<Scalar>), path);
  }

  /// What head() makes of the batch. The last layer computes only what that reads.
  [[nodiscard]] auto operator()(Context& cx, const Batch& batch) const {
    if constexpr (Model::reads_first_tokens)
      return self().head(cx, roberta_(cx, batch, first_tokens(batch)));
    else
      return self().head(cx, roberta_(cx, batch));
  }
  /// The same from what the encoder made of it, `[tokens, hidden]`.
  [[nodiscard]] auto outputs(Context& cx, const Batch& batch, const Tensor<Scalar>& hidden) const {
    if constexpr (Model::reads_first_tokens)
      return self().head(cx, gather_rows(cx, hidden, first_tokens(batch)));
    else
      return self().head(cx, hidden);
  }

  /// The encoder below the head.
  [[nodiscard]] const RobertaModel<Scalar>& roberta() const noexcept { return roberta_; }
  /// What the model was made from.
  [[nodiscard]] const RobertaConfig& config() const noexcept { return roberta_.config(); }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept { return report_; }

  /// Visits `roberta`, and the head's own layers.
  static void visit(auto& self, auto&& f) {
    f("roberta", self.roberta_);
    Model::visit_head(self, f);
  }

 protected:
  /// The encoder with weights from `init`, with or without a pooler. Throws ConfigError.
  RobertaPreTrainedModel(const RobertaConfig& config, bool pooler, const Initializer& init)
      : roberta_(config, pooler, init) {}

  /// Packs the head's layers: all of visit_head(), by default.
  void pack_head(ThreadPool& threads, Precision precision) {
    Model::visit_head(self(), [&](auto&&, auto& layer) { layer.pack(threads, precision); });
  }
  /// The checkpoint's keys under the names of visit().
  static CheckpointKeys keys_of(const RobertaConfig&, const Checkpoint& checkpoint) {
    return CheckpointKeys(checkpoint, "roberta");
  }
  /// A model without numbers; `keys` are those of the file that will give them.
  static Model unloaded(const RobertaConfig& config, const auto& /*keys*/) {
    return Model(config, Initializer::none());
  }
  /// Called when all weights are read.
  void finish_loading() {}

  RobertaModel<Scalar> roberta_;  ///< the encoder

 private:
  static Model from_checkpoint(const RobertaConfig& config, const Checkpoint& checkpoint,
                               const LoadOptions& options) {
    CheckpointKeys keys = Model::keys_of(config, checkpoint);
    if (options.initialize_missing_head && options.replace_head) keys.keep_base();
    Model model = Model::unloaded(config, keys);
    if (options.keep_pooler && keys.contains("pooler.dense.weight")) {
      model.roberta_.add_pooler(Initializer::none());
    }
    const std::string wanted = config.class_name(Model::suffix);
    const std::string found = config.architectures.empty() ? wanted : config.architectures.front();
    const std::string note =
        found == wanted ? "" : concat("; the folder holds ", found, ", not ", wanted);
    model.report_ = load_parameters(model, keys, options, config.initializer_range, note);
    model.finish_loading();
    pack_as_asked(model, options, checkpoint);
    return model;
  }

  static Model from_packed(const PackedFile& file) {
    const RobertaConfig config = RobertaConfig::from_packed(file);
    check_architecture(file, config, Model::suffix);
    Model model = Model::unloaded(config, file);
    if (file.contains("roberta.pooler.dense.weight")) {
      model.roberta_.add_pooler(Initializer::none());
    }
    load_packed(model, file);
    return model;
  }

  Model& self() noexcept { return static_cast<Model&>(*this); }
  const Model& self() const noexcept { return static_cast<const Model&>(*this); }

  LoadReport report_;
};

/// What the language models share: logits over the vocabulary, from hidden states h by
/// norm(gelu(dense(h))) E^T + bias, where E are the word embeddings unless the checkpoint unties
/// it. Where `tie_word_embeddings` is true, the decoder is the word embeddings unless the file
/// holds another one, as in transformers 5.
template <class Scalar, class Model>
class RobertaLanguageModel : public RobertaPreTrainedModel<Scalar, Model> {
  using Base = RobertaPreTrainedModel<Scalar, Model>;
  friend Base;

 public:
  /// A model with fresh weights. Throws ConfigError.
  explicit RobertaLanguageModel(const RobertaConfig& config)
      : RobertaLanguageModel(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  RobertaLanguageModel(const RobertaConfig& config, const Initializer& init)
      : Base(config, /*pooler=*/false, init),
        dense_(config.hidden_size, config.hidden_size, init),
        norm_(config.hidden_size, config.layer_norm_eps, init),
        bias_(init.constant<Scalar>({config.vocab_size}, 0)) {
    if (!config.tie_word_embeddings) {
      decoder_weight_ = init.normal<Scalar>({config.vocab_size, config.hidden_size});
      decoder_bias_ = init.constant<Scalar>({config.vocab_size}, 0);
    }
  }

  /// (cx, batch): logits of every token, `[tokens, vocab]`.
  using Base::operator();

  /// Logits of the tokens at `positions` (rows of the packed batch) alone, `[positions, vocab]`:
  /// the others never meet the vocabulary. Throws ShapeError for a position outside the batch.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> positions) const {
    if (!std::is_sorted(positions.begin(), positions.end())) {
      return head(cx, gather_rows(cx, roberta_(cx, batch), positions));
    }
    return head(cx, roberta_(cx, batch, positions));
  }

  /// Hidden states `[rows, hidden]` to logits `[rows, vocab]`. The activation is the exact GELU,
  /// whatever `hidden_act` says.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& hidden) const {
    const Tensor<Scalar> transformed =
        norm_(cx, dense_(cx, hidden, Activation::gelu));  // [rows, hidden]
    const Parameter<Scalar>& weight =
        decoder_weight_ ? *decoder_weight_ : roberta_.word_embeddings().weight();
    const Parameter<Scalar>& bias = decoder_bias_ ? *decoder_bias_ : *bias_;
    return linear(cx, transformed, weight, bias);
  }

  /// Visits `lm_head`: `dense`, `layer_norm`, `bias` and `decoder`, tied or not.
  static void visit_head(auto& self, auto&& f) {
    f("lm_head.dense", self.dense_);
    f("lm_head.layer_norm", self.norm_);
    f("lm_head.bias", self.bias_);
    if (self.decoder_weight_)
      f("lm_head.decoder.weight", *self.decoder_weight_);
    else
      f.tied("lm_head.decoder.weight", self.roberta_.word_embeddings().weight());
    if (self.decoder_bias_)
      f("lm_head.decoder.bias", *self.decoder_bias_);
    else
      f.tied("lm_head.decoder.bias", *self.bias_);
  }

 private:
  using Base::roberta_;

  /// Word embeddings that are the decoder too keep their numbers.
  void pack_head(ThreadPool& threads, Precision precision) {
    dense_.pack(threads, precision);
    if (decoder_weight_) {
      pack_weight(threads, precision, *decoder_weight_, &norm_);
      decoder_weight_->release();
    } else {
      pack_weight(threads, precision, roberta_.word_embeddings().weight(), &norm_);
    }
  }

  /// The keys of a checkpoint in which a tied decoder may stand for what it is tied to.
  static CheckpointKeys keys_of(const RobertaConfig& config, const Checkpoint& checkpoint) {
    CheckpointKeys keys = Base::keys_of(config, checkpoint);
    if (config.tie_word_embeddings) {
      keys.substitute("embeddings.word_embeddings.weight", "lm_head.decoder.weight");
      keys.substitute("lm_head.bias", "lm_head.decoder.bias");
    }
    return keys;
  }

  /// The decoder is tied or not as config.json and the names say.
  static Model unloaded(const RobertaConfig& config, const auto& keys) {
    Model model(config, Initializer::none());
    if (config.tie_word_embeddings) {
      if (keys.contains("lm_head.decoder.weight")) {
        model.decoder_weight_.emplace(Shape{config.vocab_size, config.hidden_size});
      }
      if (keys.contains("lm_head.decoder.bias")) {
        model.decoder_bias_.emplace(Shape{config.vocab_size});
      }
    } else if (!keys.contains("lm_head.bias")) {
      model.bias_.reset();  // not asked for: an untied decoder does not use it
    }
    return model;
  }

  /// Drops a tied decoder of its own that equals what it would be tied to. An untied one leaves
  /// lm_head.bias unused, but transformers expects it in a file.
  void finish_loading() {
    const auto equal = [](const Parameter<Scalar>& a, const Parameter<Scalar>& b) {
      return (a.value().array() == b.value().array()).all();
    };
    if (this->config().tie_word_embeddings) {
      if (decoder_weight_ && equal(*decoder_weight_, roberta_.word_embeddings().weight())) {
        decoder_weight_.reset();
      }
      if (decoder_bias_ && equal(*decoder_bias_, *bias_)) decoder_bias_.reset();
    }
    if (!bias_) bias_.emplace(Tensor<Scalar>::zeros({this->config().vocab_size}));
  }

  Linear<Scalar> dense_;
  LayerNorm<Scalar> norm_;
  std::optional<Parameter<Scalar>> bias_;            // [vocab]; not used by an untied decoder
  std::optional<Parameter<Scalar>> decoder_weight_;  // [vocab, hidden]; none: tied
  std::optional<Parameter<Scalar>> decoder_bias_;    // [vocab]; none: tied
};

/// The masked language model: which token stands at a mask.
template <class Scalar>
class RobertaForMaskedLM : public RobertaLanguageModel<Scalar, RobertaForMaskedLM<Scalar>> {
 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "ForMaskedLM";
  using RobertaLanguageModel<Scalar, RobertaForMaskedLM>::RobertaLanguageModel;
};

}  // namespace eigenformer
