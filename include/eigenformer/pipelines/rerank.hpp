// Reranking: a query and documents go in, the documents come out in the order in which they answer
// it, by a cross-encoder, which reads the query and a document together (Nogueira and Cho 2019,
// arXiv:1901.04085). Mirrors sentence-transformers' CrossEncoder.rank.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/pipelines/sentence_config.hpp"
#include "eigenformer/pipelines/text_classification.hpp"

namespace eigenformer {

/// What a folder says about a cross-encoder.
struct RerankConfig {
  ClassificationFunction activation = ClassificationFunction::sigmoid;  ///< makes the scores
  std::optional<Index> max_seq_length = {};  ///< in tokens; none: the tokenizer's
  std::string prompt = {};                   ///< goes in front of every query

  /// Reads sentence-transformers' files in `folder`, where modules.json and a `model_type` of
  /// CrossEncoder say that they are there for this, and what older versions kept in config.json:
  /// `config`, an object of its keys. Throws IoError, FormatError or ConfigError naming file and
  /// key, also for modules other than one Transformer and for other activations than Sigmoid and
  /// Identity.
  [[nodiscard]] static RerankConfig from_pretrained(const std::string& folder, const Json& config) {
    RerankConfig read;
    const std::string modules = join_path(folder, "modules.json");
    const std::string own = join_path(folder, "config_sentence_transformers.json");
    if (exists(modules) && exists(own)) {
      const Json json = read_json(own);
      if (ConfigReader(json, own).text("model_type", "") == "CrossEncoder") {
        check_modules(read_json(modules), modules);
        read.max_seq_length =
            detail::read_max_seq_length(folder, "sequence-classification", "scores");
        read.prompt = detail::read_default_prompt(json, own);
        if (read.read_activation(json, "activation_fn", own)) return read;
      }
    }
    const std::string older = join_path(folder, "config.json");
    ConfigReader reader(config, older);
    const Json* const section = reader.object("sentence_transformers");
    if (section == nullptr || !read.read_activation(*section, "activation_fn", older)) {
      read.read_activation(config, "sbert_ce_default_activation_function", older);
    }
    return read;
  }

 private:
  static void check_modules(const Json& list, const std::string& source) {
    const bool one = list.is_array() && list.size() == 1;
    check<ConfigError>(one, source, ": a cross-encoder of other modules than one Transformer is ",
                       "not supported");
    ConfigReader reader(list[0], source);
    const std::string type = reader.text("type", "");
    if (detail::module_name(type) != "Transformer") reader.refuse("type", type, "a Transformer");
    const std::string path = reader.text("path", "");
    if (!path.empty()) reader.refuse("path", path, "empty: the model lies beside modules.json");
  }

  /// Whether `json` names an activation, which is taken.
  bool read_activation(const Json& json, const char* key, const std::string& source) {
    ConfigReader reader(json, source);
    const std::optional<std::string> path = reader.text_or_null(key);
    if (!path) return false;
    const bool torch = path->starts_with("torch.");
    const bool logits = torch && path->ends_with(".Identity");
    if (!logits && !(torch && path->ends_with(".Sigmoid"))) {
      reader.refuse(key, *path, "Sigmoid or Identity of torch.nn");
    }
    activation = logits ? ClassificationFunction::none : ClassificationFunction::sigmoid;
    return true;
  }
};

/// What reranking can be told.
struct RerankOptions {
  Index top_k = 0;       ///< this many documents, the best first; 0: all
  Index max_length = 0;  ///< truncate each pair to this many tokens; 0: as the folder says
  /// Pairs go through the model together up to this many tokens; a longer one goes alone.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of documents that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A document with its score.
struct RankedDocument {
  Index document = 0;  ///< its place in what was given
  double score = 0;    ///< how well it fits the query
};

/// A cross-encoder. It runs the model once for every document, so it is for the best of what
/// something faster found: Search, over the embeddings of a whole corpus. Use one per thread;
/// copies share the model. `Classifier` is as BasicTextClassification takes it, its `config()` has
/// `extra` too.
template <class Scalar, template <class> class Classifier = AutoModelForSequenceClassification>
class BasicRerank {
 public:
  using Model = Classifier<Scalar>;  ///< the model in use

  /// Throws ConfigError for a model that does not have one label.
  BasicRerank(std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const Model> model,
              RerankConfig config, Context context = Context())
      : BasicRerank(TextClassifier(std::move(tokenizer), std::move(model), std::move(context)),
                    std::move(config)) {}

  /// Loads a published folder or maps a packed file, as BasicTextClassification::from_pretrained,
  /// with the files that RerankConfig::from_pretrained reads. Throws as they do.
  [[nodiscard]] static BasicRerank from_pretrained(const std::string& path,
                                                   Context context = Context(),
                                                   std::optional<Precision> precision = {}) {
    auto classifier = TextClassifier::from_pretrained(path, std::move(context), precision);
    const Json& config = classifier.model().config().extra;
    RerankConfig read = RerankConfig::from_pretrained(folder_of(path), config);
    return BasicRerank(std::move(classifier), std::move(read));
  }

  /// The documents, the best answer to `query` first, equal scores by place. Throws ConfigError for
  /// a max_length that leaves no room for the special tokens, and Error where a score is not
  /// finite.
  [[nodiscard]] std::vector<RankedDocument> operator()(std::string_view query,
                                                       std::span<const std::string> documents,
                                                       const RerankOptions& options = {}) {
    check(options.top_k >= 0, "rerank: top_k is ", options.top_k,
          "; it must be 1 or more, or 0 for all documents");
    const std::string prompted = config_.prompt + std::string(query);
    std::vector<TextInput> pairs;
    for (const std::string& document : documents) pairs.emplace_back(prompted, document);
    const Tensor<Scalar> logits =
        classify_.logits(pairs, {.max_length = limit(options.max_length),
                                 .batch_tokens = options.batch_tokens,
                                 .progress = options.progress});  // [documents, 1]
    const Tensor<Scalar> scores = classify_.scores(logits, config_.activation);
    std::vector<RankedDocument> ranked;
    for (const Index i : best_first(scores.data(), scores.numel(), options.top_k)) {
      ranked.push_back({i, static_cast<double>(scores.data()[i])});
    }
    return ranked;
  }

  /// How the folder scores documents.
  [[nodiscard]] const RerankConfig& config() const noexcept { return config_; }
  /// The tokenizer in use.
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return classify_.tokenizer(); }
  /// The model in use.
  [[nodiscard]] const Model& model() const noexcept { return classify_.model(); }

 private:
  using TextClassifier = BasicTextClassification<Scalar, Classifier>;

  BasicRerank(TextClassifier classifier, RerankConfig config)
      : classify_(std::move(classifier)), config_(std::move(config)) {
    const Index labels = model().config().num_labels;
    check<ConfigError>(labels == 1, "rerank: the model has ", labels, " labels but ranking needs ",
                       "one, a score; TextClassification takes pairs too");
  }

  /// To how many tokens a pair is cut.
  [[nodiscard]] Index limit(Index max_length) const {
    const auto stated =
        config_.max_seq_length ? config_.max_seq_length : tokenizer().model_max_length();
    return length_limit(max_length, stated, model().config().max_tokens());
  }

  TextClassifier classify_;
  RerankConfig config_;
};

/// Reranking in float, as most programs use it.
using Rerank = BasicRerank<float>;

}  // namespace eigenformer
