// PreTrainedModel: a base model with a head on it, as transformers' class of this name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "eigenformer/autograd/ops/loss.hpp"
#include "eigenformer/models/encoder_model.hpp"

namespace eigenformer {

/// What all heads on an `Encoder`, such as RobertaModel<Scalar>, share, as transformers' class of
/// this name: loading, saving, packing. `Model` derives from it and has
///   suffix: its name without the family's, such as "ForMaskedLM";
///   Model(config, init) and visit_head(self, f): its own layers;
///   head(cx, hidden): hidden states `[rows, hidden]` to its outputs;
///   reads_first_tokens: whether head() takes the rows of first tokens alone.
/// It may replace the protected functions by its own.
template <class ScalarType, class Encoder, class Model>
class PreTrainedModel : public SavedModel<ScalarType, Model> {
 public:
  using Scalar = ScalarType;                ///< its arithmetic
  using Config = typename Encoder::Config;  ///< what it is made from
  /// Whether head() takes the rows of first tokens alone.
  static constexpr bool reads_first_tokens = false;
  static constexpr std::string_view base = Encoder::base;  ///< the encoder's name in checkpoints

  /// Loads a published folder or maps a packed file. Throws IoError, FormatError or ConfigError.
  [[nodiscard]] static Model from_pretrained(const std::string& path,
                                             const LoadOptions& options = {}) {
    if (is_file(path)) return from_packed(open_packed<Scalar>(path, options));
    const auto [config, checkpoint] = open_folder<Config>(path, base);
    return from_checkpoint(config, checkpoint, options);
  }
  /// The same for a folder, with another configuration than its own: more labels, say.
  [[nodiscard]] static Model from_pretrained(const std::string& folder, const Config& config,
                                             const LoadOptions& options) {
    return from_checkpoint(config, Checkpoint::open(folder), options);
  }

  /// As EncoderModel::pack.
  void pack(ThreadPool& threads, Precision precision) {
    base_model_.pack(threads, precision);
    self().pack_head(threads, precision);
  }

  /// How a checkpoint's names and shapes fit the configuration; loads nothing.
  [[nodiscard]] static KeyMatch match(const Config& config, const Checkpoint& checkpoint) {
    const CheckpointKeys keys = Model::keys_of(config, checkpoint);
    const Model model = Model::unloaded(config, keys);
    return match_keys(named_parameters(model), keys);
  }

  /// What head() makes of the batch. The last layer computes only what that reads.
  [[nodiscard]] auto operator()(Context& cx, const Batch& batch) const {
    if constexpr (Model::reads_first_tokens)
      return self().head(cx, base_model_(cx, batch, first_tokens(batch)));
    else
      return self().head(cx, base_model_(cx, batch));
  }
  /// The same from what the encoder made of it, `[tokens, hidden]`.
  [[nodiscard]] auto outputs(Context& cx, const Batch& batch, const Tensor<Scalar>& hidden) const {
    if constexpr (Model::reads_first_tokens)
      return self().head(cx, gather_rows(cx, hidden, first_tokens(batch)));
    else
      return self().head(cx, hidden);
  }

  /// Cross entropy with a label for each row of `logits`, -100 for those that do not count: of
  /// texts, tokens or, by the number of the right choice, questions. `Model` may have another loss.
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const Tensor<Scalar>& logits,
                                    std::span<const TokenId> labels) const {
    return cross_entropy(cx, logits, labels);
  }

  /// The encoder below the head.
  [[nodiscard]] const Encoder& base_model() const noexcept { return base_model_; }
  /// What the model was made from.
  [[nodiscard]] const Config& config() const noexcept { return base_model_.config(); }
  /// What from_pretrained() found missing or unexpected; empty otherwise.
  [[nodiscard]] const LoadReport& load_report() const noexcept { return report_; }

  /// Visits the encoder under its name, and the head's own layers.
  static void visit(auto& self, auto&& f) {
    f(base, self.base_model_);
    Model::visit_head(self, f);
  }

 protected:
  /// The encoder with weights from `init`, with or without a pooler. Throws ConfigError.
  PreTrainedModel(const Config& config, bool pooler, const Initializer& init)
      : base_model_(config, pooler, init) {}
  /// The same for a base model that never has a pooler.
  PreTrainedModel(const Config& config, const Initializer& init) : base_model_(config, init) {}

  /// Packs the head's layers: all of visit_head(), by default.
  void pack_head(ThreadPool& threads, Precision precision) {
    Model::visit_head(self(), [&](auto&&, auto& layer) { layer.pack(threads, precision); });
  }
  /// The checkpoint's keys under the names of visit().
  static CheckpointKeys keys_of(const Config&, const Checkpoint& checkpoint) {
    return CheckpointKeys(checkpoint, base);
  }
  /// A model without numbers; `keys` are those of the file that will give them.
  static Model unloaded(const Config& config, const auto& /*keys*/) {
    return Model(config, Initializer::none());
  }
  /// Called when all weights are read.
  void finish_loading() {}

  Encoder base_model_;  ///< the encoder

 private:
  static Model from_checkpoint(const Config& config, const Checkpoint& checkpoint,
                               const LoadOptions& options) {
    CheckpointKeys keys = Model::keys_of(config, checkpoint);
    if (options.initialize_missing_head && options.replace_head) keys.keep_base();
    Model model = Model::unloaded(config, keys);
    if (options.keep_pooler) add_pooler(model, keys, "");
    const std::string wanted = config.class_name(Model::suffix);
    const std::string found = config.architectures.empty() ? wanted : config.architectures.front();
    const std::string note =
        found == wanted ? "" : concat("; the folder holds ", found, ", not ", wanted);
    model.report_ =
        load_parameters(named_parameters(model), keys, options, config.initializer_range, note);
    model.finish_loading();
    pack_as_asked(model, options, checkpoint);
    return model;
  }

  static Model from_packed(const PackedFile& file) {
    const Config config = Config::from_packed(file);
    check_architecture(file, config, Model::suffix);
    Model model = Model::unloaded(config, file);
    add_pooler(model, file, concat(base, "."));
    load_packed(named_parameters(model), file);
    return model;
  }

  /// Makes a pooler, where `file` holds one under that prefix and the encoder may have one.
  static void add_pooler(Model& model, const auto& file, const std::string& prefix) {
    if constexpr (requires { model.base_model_.add_pooler(Initializer::none()); }) {
      if (file.contains(concat(prefix, Encoder::pooler_name, ".weight"))) {
        model.base_model_.add_pooler(Initializer::none());
      }
    }
  }

  Model& self() noexcept { return static_cast<Model&>(*this); }
  const Model& self() const noexcept { return static_cast<const Model&>(*this); }

  LoadReport report_;
};

}  // namespace eigenformer
