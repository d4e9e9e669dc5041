// GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): a decoder
// that predicts the next token, with the norms before the sub-layers and one more at the end.
// Mirrors transformers/models/gpt2/modeling_gpt2.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigenformer/models/gpt2_config.hpp"
#include "eigenformer/models/language_model.hpp"
#include "eigenformer/models/pretrained_model.hpp"
#include "eigenformer/nn/pre_norm_layer.hpp"

namespace eigenformer {

/// A layer, whose weights lie transposed in files.
template <class Scalar>
class GPT2Block : public PreNormLayer<Scalar> {
 public:
  /// Layer `i`, from 0.
  GPT2Block(const GPT2Config& config, Index i, const Initializer& init)
      : PreNormLayer<Scalar>({.hidden = config.n_embd,
                              .heads = config.n_head,
                              .intermediate = config.inner_size(),
                              .activation = config.activation(),
                              .norm_eps = config.layer_norm_epsilon,
                              .dropout = config.resid_pdrop,
                              .attention_dropout = config.attn_pdrop,
                              .causal = true,
                              .attention_scale = config.attention_scale(i)},
                             init) {}

  /// Visits `ln_1`, `attn`, `ln_2` and `mlp`.
  static void visit(auto& self, auto&& f) {
    PreNormLayer<Scalar>::visit(self, [&](std::string_view name, auto& part) {
      using Part = std::remove_reference_t<decltype(part)>;
      if constexpr (std::is_same_v<std::remove_const_t<Part>, Linear<Scalar>>)
        f(name, Conv1D<Part>{part});
      else
        f(name, part);
    });
  }
};

/// The decoder without a head.
template <class Scalar>
class GPT2Model : public SavedModel<Scalar, GPT2Model<Scalar>> {
 public:
  using Config = GPT2Config;                           ///< what it is made from
  static constexpr std::string_view suffix = "Model";  ///< its name without the family's
  /// Its name in the checkpoints of models that have a head on it.
  static constexpr std::string_view base = "transformer";

  /// A model with fresh weights. Throws ConfigError.
  explicit GPT2Model(const GPT2Config& config)
      : GPT2Model(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`; those of layers before a sum are smaller, as their number
  /// asks for.
  GPT2Model(const GPT2Config& config, const Initializer& init)
      : config_(valid(config)),
        wte_(config.vocab_size, config.n_embd, -1, init),
        wpe_(config.n_positions, config.n_embd, -1, init),
        ln_f_(config.n_embd, config.layer_norm_epsilon, init) {
    h_.reserve(static_cast<std::size_t>(config.n_layer));
    for (Index i = 0; i < config.n_layer; ++i) h_.emplace_back(config, i, init);
    for (const auto& named : named_parameters(*this)) {
      if (!named.parameter.defined() || !named.name.ends_with("c_proj.weight")) continue;
      named.parameter.value().array() /=
          static_cast<Scalar>(std::sqrt(2 * static_cast<double>(config.n_layer)));
    }
  }

  /// Loads a published folder or maps a packed file, a headed one too. Throws IoError, FormatError
  /// or ConfigError.
  [[nodiscard]] static GPT2Model from_pretrained(const std::string& path,
                                                 const LoadOptions& options = {}) {
    if (is_file(path)) return from_packed(open_packed<Scalar>(path, options));
    const auto [config, checkpoint] = open_folder<GPT2Config>(path, GPT2Config::model_type);
    GPT2Model model(config, Initializer::none());
    const CheckpointKeys keys(checkpoint, base);
    model.report_ =
        load_parameters(named_parameters(model), keys, options, config.initializer_range);
    pack_as_asked(model, options, checkpoint);
    return model;
  }

  /// As EncoderModel's functions of these names.
  void pack(ThreadPool& threads, Precision precision) {
    for (GPT2Block<Scalar>& block : h_) block.pack(threads, precision);
  }
  /// How a checkpoint's names and shapes fit the configuration; loads nothing.
  [[nodiscard]] static KeyMatch match(const GPT2Config& config, const Checkpoint& checkpoint) {
    const GPT2Model model(config, Initializer::none());
    return match_keys(named_parameters(model), CheckpointKeys(checkpoint, base));
  }

  /// Hidden states after the last norm, `[tokens, hidden]`. Throws ShapeError for ids and texts
  /// beyond the tables, and for types other than 0: GPT-2 knows none, and does not add the
  /// embedding of token 0 for them, as transformers does when it is given any.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch) const {
    return decode(cx, batch, {}, nullptr);
  }
  /// The same for some rows of the batch alone, in rising order: `[rows, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> rows) const {
    return decode(cx, batch, {}, nullptr, rows);
  }
  /// The same with every layer's states and probabilities on request. As in transformers, the last
  /// of the states is after the last norm.
  [[nodiscard]] EncoderOutput<Scalar> forward(Context& cx, const Batch& batch,
                                              const EncoderOutputOptions& options = {}) const {
    EncoderOutput<Scalar> output;
    output.last_hidden_state = decode(cx, batch, options, &output);
    return output;
  }

  /// The same for tokens that go on from what `cache` has of their texts: one segment for each of
  /// them, which may be empty. The cache gets what is new too. For inference: throws
  /// NotDifferentiable with a tape.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          DecoderCache<Scalar>& cache) const {
    check<ShapeError>(cache.texts() == batch.segments() && cache.layers() == config_.n_layer,
                      "decoder: a cache of ", cache.texts(), " texts and ", cache.layers(),
                      " layers for a batch of ", batch.segments(), " texts and a model of ",
                      config_.n_layer, " layers");
    const auto seen = [&](Index text) { return cache.length(text); };
    Tensor<Scalar> x = embeddings(cx, batch, seen);  // [tokens, hidden]
    const Sequences sequences(batch);
    for (std::size_t i = 0; i < h_.size(); ++i) {
      x = h_[i](cx, x, sequences, cache.layer(static_cast<Index>(i)));
    }
    cache.advance(batch);
    return ln_f_(cx, x);
  }
  /// An empty cache for `texts` texts.
  [[nodiscard]] DecoderCache<Scalar> cache(Index texts) const {
    return DecoderCache<Scalar>(config_.n_layer, texts);
  }

  /// What the model was made from.
  [[nodiscard]] const GPT2Config& config() const noexcept { return config_; }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept { return report_; }
  /// The word embeddings, `[vocab, hidden]`.
  [[nodiscard]] const Embedding<Scalar>& word_embeddings() const noexcept { return wte_; }
  /// The same, to change them.
  [[nodiscard]] Embedding<Scalar>& word_embeddings() noexcept { return wte_; }
  /// The norm that the outputs come from.
  [[nodiscard]] const LayerNorm<Scalar>& output_norm() const noexcept { return ln_f_; }

  /// Visits `wte`, `wpe`, `h` and `ln_f`.
  static void visit(auto& self, auto&& f) {
    f("wte", self.wte_);
    f("wpe", self.wpe_);
    f("h", self.h_);
    f("ln_f", self.ln_f_);
  }

 private:
  static const GPT2Config& valid(const GPT2Config& config) {
    config.validate();
    return config;
  }

  static GPT2Model from_packed(const PackedFile& file) {
    const GPT2Config config = GPT2Config::from_packed(file);
    const bool headed = config.architectures != std::vector{config.class_name(suffix)};
    GPT2Model model(config, Initializer::none());
    load_packed(named_parameters(model), file, headed ? concat(base, ".") : "");
    return model;
  }

  /// Word and position embeddings of texts of which seen(text) tokens came before.
  template <class Seen>
  Tensor<Scalar> embeddings(Context& cx, const Batch& batch, Seen&& seen) const {
    batch.validate();
    check<ShapeError>(std::ranges::all_of(batch.type_ids, [](TokenId type) { return type == 0; }),
                      "embeddings: GPT-2 has no types of tokens other than 0");
    Tensor<TokenId> positions = cx.empty<TokenId>({batch.tokens()});
    for (Index i = 0; i < batch.segments(); ++i) {
      const RowRange text = batch.segment(i);
      const Index first = seen(i);
      check<ShapeError>(text.size() <= config_.n_positions - first, "embeddings: a text of ",
                        first + text.size(), " tokens is longer than the ", config_.n_positions,
                        " that the model takes; truncate it");
      std::iota(positions.data() + text.begin, positions.data() + text.end,
                static_cast<TokenId>(first));
    }
    const std::span<const TokenId> at(positions.data(), batch.ids.size());
    const Tensor<Scalar> sum =
        embedding_sum<Scalar>(cx, {wte_.lookup(cx, batch.ids), wpe_.lookup(cx, at)});
    return dropout(cx, sum, config_.embd_pdrop);
  }

  Tensor<Scalar> decode(Context& cx, const Batch& batch, const EncoderOutputOptions& options,
                        EncoderOutput<Scalar>* output,
                        std::optional<std::span<const Index>> rows = {}) const {
    Tensor<Scalar> x = embeddings(cx, batch, [](Index) { return 0; });  // [tokens, hidden]
    const Sequences sequences(batch);
    for (const GPT2Block<Scalar>& block : h_) {
      if (output != nullptr && options.hidden_states) output->hidden_states.push_back(x);
      if (rows && &block == &h_.back()) return ln_f_(cx, block(cx, x, sequences, *rows));
      const bool keeps = output != nullptr && options.attentions;
      x = block(cx, x, sequences, keeps ? &output->attentions.emplace_back() : nullptr);
    }
    x = ln_f_(cx, rows ? gather_rows(cx, x, *rows) : x);
    if (output != nullptr && options.hidden_states) output->hidden_states.push_back(x);
    return x;
  }

  GPT2Config config_;
  Embedding<Scalar> wte_;
  Embedding<Scalar> wpe_;
  std::vector<GPT2Block<Scalar>> h_;
  LayerNorm<Scalar> ln_f_;
  LoadReport report_;
};

/// GPT-2 that predicts the next token: logits h E^T, where E are the word embeddings unless the
/// checkpoint unties it. Where `tie_word_embeddings` is true, E are the word embeddings unless the
/// file holds another one, as in transformers 5.
template <class Scalar>
class GPT2LMHeadModel : public PreTrainedModel<Scalar, GPT2Model<Scalar>, GPT2LMHeadModel<Scalar>> {
  using Base = PreTrainedModel<Scalar, GPT2Model<Scalar>, GPT2LMHeadModel>;
  friend Base;

 public:
  /// Its name without the family's.
  static constexpr std::string_view suffix = "LMHeadModel";

  /// A model with fresh weights. Throws ConfigError.
  explicit GPT2LMHeadModel(const GPT2Config& config)
      : GPT2LMHeadModel(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  GPT2LMHeadModel(const GPT2Config& config, const Initializer& init) : Base(config, init) {
    if (!config.tie_word_embeddings) {
      lm_head_ = init.normal<Scalar>({config.vocab_size, config.n_embd});
    }
  }

  /// (cx, batch): logits of every token, `[tokens, vocab]`.
  using Base::operator();

  /// Logits of the tokens at `positions` (rows of the packed batch, in rising order) alone,
  /// `[positions, vocab]`. Throws ShapeError for a position outside the batch.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          std::span<const Index> positions) const {
    return head(cx, this->base_model_(cx, batch, positions));
  }
  /// Logits of tokens that go on from what `cache` has, `[tokens, vocab]`; see GPT2Model.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Batch& batch,
                                          DecoderCache<Scalar>& cache) const {
    return head(cx, this->base_model_(cx, batch, cache));
  }

  /// Hidden states `[rows, hidden]` to logits `[rows, vocab]`.
  [[nodiscard]] Tensor<Scalar> head(Context& cx, const Tensor<Scalar>& hidden) const {
    return linear(cx, hidden, lm_head_ ? *lm_head_ : this->base_model_.word_embeddings().weight(),
                  Tensor<Scalar>());
  }

  /// As next_token_loss.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits, const Batch& batch,
                                    std::span<const TokenId> labels) const {
    return next_token_loss(cx, logits, batch, labels);
  }

  /// The decoder below the head.
  [[nodiscard]] const GPT2Model<Scalar>& transformer() const noexcept { return this->base_model_; }

  /// Visits `lm_head.weight`, tied or not.
  static void visit_head(auto& self, auto&& f) {
    if (self.lm_head_)
      f(weight, *self.lm_head_);
    else
      f.tied(weight, self.base_model_.word_embeddings().weight());
  }

 private:
  static constexpr std::string_view weight = "lm_head.weight";

  /// Word embeddings that are the head too keep their numbers.
  void pack_head(ThreadPool& threads, Precision precision) {
    pack_weight(threads, precision,
                lm_head_ ? *lm_head_ : this->base_model_.word_embeddings().weight(),
                &this->base_model_.output_norm());
    if (lm_head_) lm_head_->release();
  }
  /// A checkpoint in which the head alone may stand for the word embeddings that it is tied to.
  static CheckpointKeys keys_of(const GPT2Config& config, const Checkpoint& checkpoint) {
    CheckpointKeys keys = Base::keys_of(config, checkpoint);
    if (config.tie_word_embeddings) keys.substitute("wte.weight", weight);
    return keys;
  }
  static GPT2LMHeadModel unloaded(const GPT2Config& config, const auto& keys) {
    GPT2LMHeadModel model(config, Initializer::none());
    if (config.tie_word_embeddings && keys.contains(weight)) {
      model.lm_head_.emplace(Shape{config.vocab_size, config.n_embd});
    }
    return model;
  }
  /// Drops a head of its own that equals the word embeddings that it would be tied to.
  void finish_loading() {
    if (!lm_head_ || !this->config().tie_word_embeddings) return;
    const Tensor<Scalar>& words =
        std::as_const(this->base_model_).word_embeddings().weight().value();
    if ((std::as_const(*lm_head_).value().array() == words.array()).all()) lm_head_.reset();
  }

  std::optional<Parameter<Scalar>> lm_head_;  // [vocab, hidden]; none: the word embeddings
};

}  // namespace eigenformer
