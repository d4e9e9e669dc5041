// Sentence embeddings: texts go in, one vector for each comes out, pooled as the model's folder
// says. Mirrors SentenceTransformer.encode (Reimers and Gurevych, arXiv:1908.10084).
#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/linear.hpp"
#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/io/checkpoint.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/batches.hpp"
#include "eigenformer/pipelines/pooling.hpp"
#include "eigenformer/pipelines/sentence_config.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// What BasicSentenceEmbedding can be asked for.
struct EmbeddingOptions {
  Index max_length = 0;  ///< truncate to this many tokens; 0: as the folder says
  /// Texts go through the encoder together up to this many tokens; a longer one goes alone.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of texts that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A tokenizer, an encoder and what turns its hidden states into one vector for each text. Use one
/// per thread; copies share the model. `Encoder<Scalar>` is any model that has
/// `from_pretrained(path, LoadOptions)`, `operator()(cx, batch)` to `[tokens, hidden]`, and a
/// `config()` with `hidden_size` and `max_tokens()`.
template <class Scalar, template <class> class Encoder = AutoModel>
class BasicSentenceEmbedding {
 public:
  using Model = Encoder<Scalar>;  ///< the encoder in use

  /// Throws ConfigError where the modules do not fit the model or each other, and what reading
  /// their weights throws.
  BasicSentenceEmbedding(std::shared_ptr<const Tokenizer> tokenizer,
                         std::shared_ptr<const Model> model, SentenceConfig config,
                         Context context = Context())
      : tokenizer_(std::move(tokenizer)),
        model_(std::move(model)),
        config_(std::move(config)),
        context_(std::move(context)) {
    const Index hidden = model_->config().hidden_size;
    check<ConfigError>(config_.hidden_size.value_or(hidden) == hidden, config_.encoder_folder,
                       ": the pooling is for hidden states of size ",
                       config_.hidden_size.value_or(hidden), " but the encoder's are ", hidden);
    size_ = checked_product(hidden, static_cast<Index>(config_.pooling.size()));
    for (const SentenceModule& module : config_.modules) {
      dense_.push_back(module.normalizes() ? Dense() : Dense(module, size_));
      if (!module.normalizes()) size_ = module.out;
    }
  }

  /// Loads a published folder, the weights packed for inference, or maps a packed file with the
  /// other files beside it. Throws IoError, FormatError or ConfigError.
  [[nodiscard]] static BasicSentenceEmbedding from_pretrained(
      const std::string& path, Context context = Context(),
      std::optional<Precision> precision = {}) {
    SentenceConfig config = SentenceConfig::from_pretrained(folder_of(path));
    auto tokenizer = std::make_shared<Tokenizer>(Tokenizer::from_pretrained(config.encoder_folder));
    auto model = std::make_shared<Model>(Model::from_pretrained(
        is_file(path) ? path : config.encoder_folder, {.precision = precision, .pack = true}));
    return {std::move(tokenizer), std::move(model), std::move(config), std::move(context)};
  }

  /// The embeddings of the texts, `[texts, size()]`. Throws ConfigError for a max_length that
  /// leaves no room for the special tokens.
  [[nodiscard]] Tensor<Scalar> operator()(std::span<const std::string> texts,
                                          const EmbeddingOptions& options = {}) {
    return embed(texts, options);
  }
  /// The same for views of texts.
  [[nodiscard]] Tensor<Scalar> operator()(std::span<const std::string_view> texts,
                                          const EmbeddingOptions& options = {}) {
    return embed(texts, options);
  }
  /// The same for a list in braces.
  [[nodiscard]] Tensor<Scalar> operator()(std::initializer_list<std::string_view> texts,
                                          const EmbeddingOptions& options = {}) {
    return embed(std::span(texts.begin(), texts.size()), options);
  }

  /// The same for texts that are tokens already, as encode() makes them. Throws ShapeError for one
  /// that is longer than the encoder takes.
  [[nodiscard]] Tensor<Scalar> operator()(const Batch& batch,
                                          const EmbeddingOptions& options = {}) {
    batch.validate();
    check<ShapeError>(batch.mask.empty(), "embedding: the batch has a mask; pack texts without");
    Tensor<Scalar> embeddings(Shape{batch.segments(), size_});
    for_each_part(batch, options.batch_tokens,
                  [&](const Batch& part, Index first) { embed(part, first, options, embeddings); });
    return embeddings;
  }

  /// The tokens of a text, or of a pair, as they are embedded: behind the prompt, and truncated to
  /// `max_length`, or as the folder says where that is 0.
  [[nodiscard]] Encoding encode(std::string_view text, std::optional<std::string_view> pair = {},
                                Index max_length = 0) const {
    const std::string whole = config_.prompt + std::string(text);
    const EncodeOptions options{.max_length = limit(max_length), .return_overflow = false};
    return pair ? tokenizer_->encode(whole, *pair, options) : tokenizer_->encode(whole, options);
  }

  /// How many numbers an embedding has.
  [[nodiscard]] Index size() const noexcept { return size_; }
  /// How the folder turns texts into embeddings.
  [[nodiscard]] const SentenceConfig& config() const noexcept { return config_; }
  /// The tokenizer in use.
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  /// The encoder in use.
  [[nodiscard]] const Model& model() const noexcept { return *model_; }

 private:
  /// A linear layer on pooled vectors, or nothing.
  struct Dense {
    Dense() = default;
    Dense(const SentenceModule& module, Index size) : activation(module.activation) {
      check<ConfigError>(module.in == size, module.folder, ": takes vectors of size ", module.in,
                         " but those before it have ", size);
      const Checkpoint checkpoint = Checkpoint::open(module.folder);
      weight = read(checkpoint, "linear.weight", {module.out, module.in});
      if (module.bias) bias = read(checkpoint, "linear.bias", {module.out});
      const std::size_t known = module.bias ? 2 : 1;
      check<FormatError>(checkpoint.size() == known, module.folder, ": holds ", checkpoint.size(),
                         " tensors but a Dense of its configuration has ", known);
    }
    static Tensor<Scalar> read(const Checkpoint& checkpoint, const char* name, const Shape& shape) {
      check<FormatError>(checkpoint.shape(name) == shape, checkpoint.path(), ": tensor '", name,
                         "' is ", checkpoint.shape(name), " but config.json asks for ", shape);
      Tensor<Scalar> numbers(shape);
      checkpoint.read<Scalar>(name, {numbers.data(), static_cast<std::size_t>(numbers.numel())});
      return numbers;
    }
    Activation activation = Activation::none;
    Tensor<Scalar> weight;  // [out, in]
    Tensor<Scalar> bias;    // [out], or undefined
  };

  /// To how many tokens a text is cut.
  [[nodiscard]] Index limit(Index max_length) const {
    const auto stated =
        config_.max_seq_length ? config_.max_seq_length : tokenizer_->model_max_length();
    return length_limit(max_length, stated, model_->config().max_tokens());
  }

  template <class Text>
  Tensor<Scalar> embed(std::span<const Text> texts, const EmbeddingOptions& options) {
    if (!config_.prompt.empty()) {
      std::vector<std::string> prompted;
      for (const Text& text : texts) prompted.push_back(config_.prompt + std::string(text));
      return embed_prompted(std::span<const std::string>(prompted), options);
    }
    return embed_prompted(texts, options);
  }

  template <class Text>
  Tensor<Scalar> embed_prompted(std::span<const Text> texts, const EmbeddingOptions& options) {
    Tensor<Scalar> embeddings(Shape{static_cast<Index>(texts.size()), size_});
    for_each_batch(*tokenizer_, texts, {.max_length = limit(options.max_length)},
                   options.batch_tokens, context_.threads(), [&](const Batch& part, Index first) {
                     embed(part, first, options, embeddings);
                   });
    return embeddings;
  }

  /// Embeds the texts of `batch` into the rows of `embeddings` from `first` on.
  void embed(const Batch& batch, Index first, const EmbeddingOptions& options,
             Tensor<Scalar>& embeddings) {
    const Index end = first + batch.segments();
    embeddings.rows(first, end).copy_from(embed(batch));
    if (options.progress) options.progress(end, embeddings.size(0));
  }

  Tensor<Scalar> embed(const Batch& batch) {
    const Tensor<Scalar> hidden = (*model_)(context_, batch);  // [tokens, hidden]
    Tensor<Scalar> x = pool_segments<Scalar>(context_, hidden, batch.offsets, config_.pooling);
    for (const Dense& dense : dense_) {
      x = dense.weight.defined() ? linear(context_, x, dense.weight, dense.bias, dense.activation)
                                 : l2_normalize(context_, x);
    }
    return x;
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Model> model_;
  SentenceConfig config_;
  Context context_;
  Index size_ = 0;
  std::vector<Dense> dense_;  // of config_.modules; those that normalise have no weight
};

/// Sentence embeddings in float, as most programs use them.
using SentenceEmbedding = BasicSentenceEmbedding<float>;

}  // namespace eigenformer
