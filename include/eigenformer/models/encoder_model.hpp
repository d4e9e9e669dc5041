// The encoder of BERT's shape that the families share: embeddings, layers, pooler. A family brings
// embeddings of its own, which say where positions start, and may have other names.
// Mirrors transformers/models/bert/modeling_bert.py (Devlin et al., arXiv:1810.04805).
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/models/encoder_config.hpp"
#include "eigenformer/models/loading.hpp"
#include "eigenformer/models/packed_model.hpp"
#include "eigenformer/models/saved_model.hpp"
#include "eigenformer/nn/embedding.hpp"
#include "eigenformer/nn/encoder_layer.hpp"

namespace eigenformer {

template <class Scalar, class Layer = EncoderLayer<Scalar>>
class EncoderLayers;

/// Word, position and, where there are any, type embeddings, added and normalised.
template <class Scalar>
class EncoderEmbeddings {
 public:
  using Encoder = EncoderLayers<Scalar>;  ///< what the layers are held in
  static constexpr bool pools = true;     ///< whether encoders may have a pooler
  /// Whether vectors are projected that have the encoder's size already.
  static constexpr bool projects_always = false;
  static constexpr std::string_view layers = "encoder";       ///< what holds them in checkpoints
  static constexpr std::string_view pooler = "pooler.dense";  ///< the pooler's layer there
  static constexpr std::string_view projection = "embeddings_project";  ///< and the projection

  /// Draws the tables. Throws ConfigError where positions count from padding that is null.
  EncoderEmbeddings(const EncoderConfig& config, const Initializer& init)
      : EncoderEmbeddings(config, config.hidden_size, init) {}
  /// The same with vectors of `size` numbers, which an encoder of another size projects.
  EncoderEmbeddings(const EncoderConfig& config, Index size, const Initializer& init)
      : word_(config.vocab_size, size, config.pad_token_id.value_or(-1), init),
        position_(config.max_position_embeddings, size, config.first_position() - 1, init),
        norm_(size, config.layer_norm_eps, init),
        first_position_(config.first_position()),
        most_tokens_(config.max_tokens()),
        dropout_(config.hidden_dropout_prob) {
    if (config.type_vocab_size > 0) {
      type_.emplace(config.type_vocab_size, size, -1, init);
    }
  }

  /// `[tokens, hidden]` of tokens at `positions`. Throws ShapeError for ids, types and texts beyond
  /// the tables. Types are passed over where the model has none.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const TokenId> positions) const {
    const auto last = std::max_element(positions.begin(), positions.end());
    const Index longest = last == positions.end() ? 0 : *last - first_position_ + 1;
    check<ShapeError>(longest <= most_tokens_, "embeddings: a text of ", longest,
                      " tokens is longer than the ", most_tokens_,
                      " that the model takes; truncate it");
    if (!type_) {
      const Tensor<Scalar> sum = embedding_sum<Scalar>(
          cx, {word_.lookup(cx, batch.ids), position_.lookup(cx, positions)});  // [tokens, hidden]
      return dropout(cx, norm_(cx, sum), dropout_);
    }
    const bool untyped = batch.type_ids.empty();
    const Tensor<TokenId> zeros = cx.zeros<TokenId>({untyped ? batch.tokens() : 0});
    const std::span<const TokenId> types =
        untyped ? std::span<const TokenId>(zeros.data(), batch.ids.size()) : batch.type_ids;
    const Tensor<Scalar> sum =
        embedding_sum<Scalar>(cx, {word_.lookup(cx, batch.ids), type_->lookup(cx, types),
                                   position_.lookup(cx, positions)});  // [tokens, hidden]
    return dropout(cx, norm_(cx, sum), dropout_);
  }

  /// The norm that the outputs come from.
  [[nodiscard]] const LayerNorm<Scalar>& norm() const noexcept { return norm_; }
  /// The word embeddings, `[vocab, size]`.
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

 protected:
  /// The position embeddings, `[positions, hidden]`.
  [[nodiscard]] Parameter<Scalar>& position_table() noexcept { return position_.weight(); }

 private:
  Embedding<Scalar> word_;
  Embedding<Scalar> position_;
  std::optional<Embedding<Scalar>> type_;
  LayerNorm<Scalar> norm_;
  Index first_position_;
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
class Pooler {
 public:
  /// Draws the layer's weights.
  Pooler(const EncoderConfig& config, const Initializer& init)
      : dense_(config.hidden_size, config.hidden_size, init) {}

  /// Hidden states of first tokens, `[segments, hidden]` to `[segments, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& first) const {
    return dense_(cx, first, Activation::tanh);
  }

  /// As EncoderModel::pack.
  void pack(ThreadPool& threads, Precision precision) { dense_.pack(threads, precision); }

  /// Visits what the layer visits.
  static void visit(auto& self, auto&& f) { Linear<Scalar>::visit(self.dense_, f); }

 private:
  Linear<Scalar> dense_;
};

/// What EncoderModel::forward keeps beside its result.
struct EncoderOutputOptions {
  bool hidden_states = false;  ///< the embeddings' output and each layer's
  bool attentions = false;     ///< each layer's attention probabilities
};

/// Everything that the encoder computed.
template <class Scalar>
struct EncoderOutput {
  Tensor<Scalar> last_hidden_state;                        ///< `[tokens, hidden]`
  Tensor<Scalar> pooler_output;                            ///< `[segments, hidden]`, or undefined
  std::vector<Tensor<Scalar>> hidden_states;               ///< the embeddings' and each layer's
  std::vector<AttentionProbabilities<Scalar>> attentions;  ///< `[layer][segment]`: `[heads, n, n]`
};

/// The layers, one after the other; `Layer` is an EncoderLayer. A family may apply one of them
/// several times.
template <class Scalar, class Layer>
class EncoderLayers {
 public:
  /// Draws all weights.
  EncoderLayers(const EncoderConfig& config, const Initializer& init)
      : EncoderLayers(config, each_once(config), init) {}

  /// As EncoderModel::pack; the first layer's inputs come from `norm`. One that is applied several
  /// times is packed once, for the inputs of the last.
  void pack(ThreadPool& threads, Precision precision, const LayerNorm<Scalar>* norm) {
    std::vector<const LayerNorm<Scalar>*> inputs(layer_.size(), nullptr);
    for (const std::size_t i : order_) {
      inputs[i] = norm;
      norm = &layer_[i].output_norm();
    }
    for (std::size_t i = 0; i < layer_.size(); ++i) layer_[i].pack(threads, precision, inputs[i]);
  }

  /// What the last layer makes of embeddings `[tokens, hidden]`: all rows, or `rows` alone. What
  /// `options` ask for goes into `output`, unless that is null.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, Tensor<Scalar> x, const Batch& batch,
                                          const EncoderOutputOptions& options,
                                          EncoderOutput<Scalar>* output,
                                          std::optional<std::span<const Index>> rows = {}) const {
    const Sequences sequences(batch);
    const bool keeps_states = output != nullptr && options.hidden_states;
    const bool keeps_attentions = output != nullptr && options.attentions;
    if (keeps_states) output->hidden_states.push_back(x);
    for (std::size_t step = 0; step < order_.size(); ++step) {
      const Layer& layer = layer_[order_[step]];
      if (rows && step + 1 == order_.size()) return layer(cx, x, sequences, *rows);
      x = layer(cx, x, sequences, keeps_attentions ? &output->attentions.emplace_back() : nullptr);
      if (keeps_states) output->hidden_states.push_back(x);
    }
    return rows ? gather_rows(cx, x, *rows) : x;
  }

  /// Visits `layer`.
  static void visit(auto& self, auto&& f) { f("layer", self.layer_); }

 protected:
  /// Which layers there are, and how they are applied.
  struct Plan {
    std::size_t layers = 0;          ///< how many are held
    std::vector<std::size_t> order;  ///< the number of the layer that each step applies
  };

  /// The same for another plan than each layer once.
  EncoderLayers(const EncoderConfig& config, Plan plan, const Initializer& init)
      : order_(std::move(plan.order)) {
    layer_.reserve(plan.layers);
    for (std::size_t i = 0; i < plan.layers; ++i) {
      layer_.emplace_back(
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
  }

  std::vector<Layer> layer_;  ///< each layer once

 private:
  static Plan each_once(const EncoderConfig& config) {
    Plan plan{static_cast<std::size_t>(config.num_hidden_layers), {}};
    for (std::size_t i = 0; i < plan.layers; ++i) plan.order.push_back(i);
    return plan;
  }

  std::vector<std::size_t> order_;  // as in Plan
};

/// The encoder, with a pooler where there is one. Attention is causal where `is_decoder` is true.
/// `Embeddings<Scalar>` are EncoderEmbeddings that take (cx, batch), with
///   base: the encoder's name in the checkpoints of headed models, such as "roberta".
template <class ScalarType, template <class> class Embeddings>
class EncoderModel : public SavedModel<ScalarType, EncoderModel<ScalarType, Embeddings>> {
 public:
  using Scalar = ScalarType;                           ///< its arithmetic
  using Config = EncoderConfig;                        ///< what it is made from
  static constexpr std::string_view suffix = "Model";  ///< its name without the family's
  /// Its name in the checkpoints of models that have a head on it.
  static constexpr std::string_view base = Embeddings<Scalar>::base;
  static constexpr bool pools = Embeddings<Scalar>::pools;  ///< whether it may have a pooler
  /// The pooler's layer in checkpoints.
  static constexpr std::string_view pooler_name = Embeddings<Scalar>::pooler;

  /// A model with fresh weights. Throws ConfigError.
  explicit EncoderModel(const EncoderConfig& config, bool pooler = pools)
      : EncoderModel(config, pooler, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  EncoderModel(const EncoderConfig& config, bool pooler, const Initializer& init)
      : config_(valid(config)), embeddings_(config, init), encoder_(config, init) {
    const Index size = embedding_size();
    if (Embeddings<Scalar>::projects_always || size != config.hidden_size) {
      embeddings_project_.emplace(size, config.hidden_size, init);
    }
    if (pooler) pooler_.emplace(config, init);
  }

  /// Loads a published folder or maps a packed file, a headed one too. The pooler is there if one
  /// is held, or from a folder fresh with `initialize_missing_head`. Throws IoError, FormatError or
  /// ConfigError.
  [[nodiscard]] static EncoderModel from_pretrained(const std::string& path,
                                                    const LoadOptions& options = {}) {
    if (is_file(path)) return from_packed(open_packed<Scalar>(path, options));
    const auto [config, checkpoint] = open_folder<EncoderConfig>(path, base);
    const CheckpointKeys keys(checkpoint, base);
    const bool pooler =
        pools && (options.initialize_missing_head || keys.contains(concat(pooler_name, ".weight")));
    EncoderModel model(config, pooler, Initializer::none());
    model.report_ =
        load_parameters(named_parameters(model), keys, options, config.initializer_range);
    pack_as_asked(model, options, checkpoint);
    return model;
  }

  /// Packs the weights of all linear layers for inference, and gives their numbers up: training,
  /// saving and changing them are errors from now on. Throws ConfigError for a reduced precision of
  /// another scalar than float.
  void pack(ThreadPool& threads, Precision precision) {
    if (embeddings_project_) embeddings_project_->pack(threads, precision, &embeddings_.norm());
    encoder_.pack(threads, precision, embeddings_project_ ? nullptr : &embeddings_.norm());
    if (pooler_.has_value()) pooler_->pack(threads, precision);
  }

  /// How a checkpoint's names and shapes fit the configuration; loads nothing.
  [[nodiscard]] static KeyMatch match(const EncoderConfig& config, const Checkpoint& checkpoint,
                                      bool pooler = pools) {
    const EncoderModel model(config, pooler, Initializer::none());
    return match_keys(named_parameters(model), CheckpointKeys(checkpoint, base));
  }

  /// Hidden states of the last layer, `[tokens, hidden]`. Throws ShapeError for ids, types and
  /// texts beyond the tables.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    return encode(cx, batch, {}, nullptr);
  }

  /// The same for some rows of the batch alone, in rising order: `[rows, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> rows) const {
    return encode(cx, batch, {}, nullptr, rows);
  }

  /// The same with the pooler's output, and every layer's states and probabilities on request.
  [[nodiscard]] EncoderOutput<Scalar> forward(Context& cx, const Batch& batch,
                                              const EncoderOutputOptions& options = {}) const {
    EncoderOutput<Scalar> output;
    output.last_hidden_state = encode(cx, batch, options, &output);
    if (pooler_.has_value()) {
      output.pooler_output =
          (*pooler_)(cx, gather_rows(cx, output.last_hidden_state, first_tokens(batch)));
    }
    return output;
  }

  /// What the model was made from.
  [[nodiscard]] const EncoderConfig& config() const noexcept { return config_; }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept { return report_; }
  /// The size of an embedding: `hidden`, or the other one that the encoder projects to it.
  [[nodiscard]] Index embedding_size() const { return word_embeddings().weight().shape()[1]; }
  /// The word embeddings, `[vocab, embedding size]`.
  [[nodiscard]] const Embedding<Scalar>& word_embeddings() const noexcept {
    return embeddings_.word();
  }
  /// The same, to change them.
  [[nodiscard]] Embedding<Scalar>& word_embeddings() noexcept { return embeddings_.word(); }
  /// The pooler, where there is one.
  [[nodiscard]] const std::optional<Pooler<Scalar>>& pooler() const noexcept { return pooler_; }
  /// Makes a pooler, where there is none.
  void add_pooler(const Initializer& init) requires pools {
    if (!pooler_.has_value()) pooler_.emplace(config_, init);
  }

  /// Visits `embeddings` and, under the family's names, the layers and, where there are any, the
  /// projection of embeddings and the pooler.
  static void visit(auto& self, auto&& f) {
    f("embeddings", self.embeddings_);
    f(Embeddings<Scalar>::projection, self.embeddings_project_);
    f(Embeddings<Scalar>::layers, self.encoder_);
    f(pooler_name, self.pooler_);
  }

 private:
  static const EncoderConfig& valid(const EncoderConfig& config) {
    config.require_base(base);
    config.validate();
    return config;
  }

  static EncoderModel from_packed(const PackedFile& file) {
    const EncoderConfig config = EncoderConfig::from_packed(file);
    const bool headed = config.architectures != std::vector{config.class_name(suffix)};
    const std::string prefix = headed ? concat(base, ".") : "";
    const bool pooler = pools && file.contains(concat(prefix, pooler_name, ".weight"));
    EncoderModel model(config, pooler, Initializer::none());
    load_packed(named_parameters(model), file, prefix);
    return model;
  }

  Tensor<Scalar> encode(Context& cx, const Batch& batch, const EncoderOutputOptions& options,
                        EncoderOutput<Scalar>* output,
                        std::optional<std::span<const Index>> rows = {}) const {
    batch.validate();
    Tensor<Scalar> x = embeddings_(cx, batch);  // [tokens, embedding size]
    if (embeddings_project_) x = (*embeddings_project_)(cx, x);
    return encoder_(cx, std::move(x), batch, options, output, rows);
  }

  EncoderConfig config_;
  Embeddings<Scalar> embeddings_;
  std::optional<Linear<Scalar>> embeddings_project_;  // [hidden, embedding size]; none: they agree
  typename Embeddings<Scalar>::Encoder encoder_;
  std::optional<Pooler<Scalar>> pooler_;
  LoadReport report_;
};

}  // namespace eigenformer
