// Token classification: a text goes in, the names and other entities in it come out, each with its
// place and type. Mirrors transformers' TokenClassificationPipeline.
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

#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer {

/// A part of a text with what it is.
struct Entity {
  std::string type;       ///< the label behind its first '-', such as "PER" for "B-PER"
  std::size_t start = 0;  ///< bytes `start` to `end` (excluded) of the text
  std::size_t end = 0;    ///< one past its last byte
  std::string text;       ///< these bytes
  double score = 0;       ///< probability, the mean over its tokens or words
};

/// How tokens become entities. Neighbours of the same type are one, unless the later is a "B-".
enum class AggregationStrategy {
  none,     ///< each token is one, its type the whole label
  simple,   ///< each token has its own label
  first,    ///< tokens of a word have the label of its first
  average,  ///< they have the label that is likeliest on average
  max,      ///< they have the label of the token that is surest
};

/// What BasicTokenClassification can be asked for.
struct TokenClassificationOptions {
  /// How tokens become entities.
  AggregationStrategy aggregation = AggregationStrategy::simple;
  std::vector<std::string> ignore_labels = {"O"};  ///< types that are left out
  /// A longer text goes through the model in windows that share this many tokens. Of entities that
  /// overlap there, the longest stays, of equally long ones the likeliest.
  std::optional<Index> stride = {};
  /// Truncate to this many tokens, or with `stride`, cut into windows of so many; 0: as many as the
  /// model takes, and without `stride` a text too long is an error.
  Index max_length = 0;
  /// Texts go through the model together up to this many tokens; a longer one goes alone.
  Index batch_tokens = 4096;
  /// Called after each batch with the number of texts that are done, and of all.
  std::function<void(Index done, Index total)> progress = {};
};

/// A tokenizer and a model with labels of tokens. Use one per thread; copies share the model.
/// `Classifier<Scalar>` is any model that has `from_pretrained(path, LoadOptions)`,
/// `operator()(cx, batch)` to `[tokens, labels]`, and a `config()` with `labels()`, `label(id)` and
/// `max_tokens()`.
template <class Scalar, template <class> class Classifier = AutoModelForTokenClassification>
class BasicTokenClassification
    : public TextPipeline<Classifier<Scalar>, BasicTokenClassification<Scalar, Classifier>> {
  using Base = typename BasicTokenClassification::TextPipeline;

 public:
  /// Shares a tokenizer and a model that are loaded.
  BasicTokenClassification(std::shared_ptr<const Tokenizer> tokenizer,
                           std::shared_ptr<const typename Base::Model> model,
                           Context context = Context())
      : Base(std::move(tokenizer), std::move(model), std::move(context)) {
    const auto& config = model_->config();
    for (Index i = 0; i < config.labels(); ++i) labels_.push_back(config.label(i));
  }

  /// The entities of `text`, from left to right. Throws ShapeError for a text that is longer than
  /// the model takes, and ConfigError for options that contradict each other.
  [[nodiscard]] std::vector<Entity> operator()(std::string_view text,
                                               const TokenClassificationOptions& options = {}) {
    return std::move((*this)({text}, options).front());
  }

  /// The entities of each of the texts; the same as one by one.
  [[nodiscard]] std::vector<std::vector<Entity>> operator()(
      std::span<const std::string> texts, const TokenClassificationOptions& options = {}) {
    return classify(texts, options);
  }
  /// The same for views of texts.
  [[nodiscard]] std::vector<std::vector<Entity>> operator()(
      std::span<const std::string_view> texts, const TokenClassificationOptions& options = {}) {
    return classify(texts, options);
  }
  /// The same for a list in braces.
  [[nodiscard]] std::vector<std::vector<Entity>> operator()(
      std::initializer_list<std::string_view> texts,
      const TokenClassificationOptions& options = {}) {
    return classify(std::span(texts.begin(), texts.size()), options);
  }

 private:
  using Base::context_;
  using Base::model_;
  using Base::tokenizer_;

  /// A token of a text; `scores` are the probabilities of its labels.
  struct Token {
    ByteSpan span;
    bool continues_word = false;
    const Scalar* scores = nullptr;
  };
  /// A token or word with its label.
  struct Tagged {
    ByteSpan span;
    std::size_t label = 0;
    double score = 0;
  };

  template <class Text>
  std::vector<std::vector<Entity>> classify(std::span<const Text> texts,
                                            const TokenClassificationOptions& options) {
    check<ConfigError>(!options.stride || options.aggregation != AggregationStrategy::none,
                       "token classification: stride needs entities to merge, but aggregation is "
                       "none; choose simple, first, average or max");
    constexpr std::size_t most = 1024;  // texts whose tokens are held at once
    std::vector<std::vector<Entity>> entities(texts.size());
    for (std::size_t first = 0; first < texts.size(); first += most) {
      classify(texts, first, std::min(first + most, texts.size()), options, entities);
    }
    return entities;
  }

  /// Finds the entities of texts `first` to `last`.
  template <class Text>
  void classify(std::span<const Text> texts, std::size_t first, std::size_t last,
                const TokenClassificationOptions& options,
                std::vector<std::vector<Entity>>& entities) {
    const std::vector<Encoding> encodings = tokenizer_->encode_each(
        texts.subspan(first, last - first), encode_options(options), &context_.threads());
    struct Window {
      std::size_t text;
      const Encoding* tokens;
    };
    std::vector<Window> windows;
    Batch batch;
    const auto add = [&](std::size_t text, const Encoding& tokens) {
      windows.push_back({text, &tokens});
      batch.add(tokens.ids, tokens.type_ids);
    };
    const Index most = model_->config().max_tokens();
    for (std::size_t text = first; text < last; ++text) {
      const Encoding& tokens = encodings[text - first];
      check<ShapeError>(tokens.size() <= most, "token classification: ",
                        texts.size() == 1 ? "the text" : concat("text ", text), " has ",
                        tokens.size(), " tokens but the model takes ", most,
                        "; stride reads it in windows, max_length ", most, " truncates it");
      add(text, tokens);
      for (const Encoding& window : tokens.overflowing) add(text, window);
    }
    for_each_part(batch, options.batch_tokens, [&](const Batch& part, Index begin) {
      const Tensor<Scalar> scores =
          softmax(context_, (*model_)(context_, part));  // [tokens, labels]
      const auto at = static_cast<std::size_t>(begin);
      const auto count = static_cast<std::size_t>(part.segments());
      for (std::size_t i = 0; i < count; ++i) {
        const Window& window = windows[at + i];
        const Scalar* rows = scores.view().row(part.offsets[i]);
        add_entities(texts[window.text], *window.tokens, rows, options, entities[window.text]);
      }
      if (options.progress) {
        const std::size_t done = at + count < windows.size() ? windows[at + count].text : last;
        options.progress(static_cast<Index>(done), static_cast<Index>(texts.size()));
      }
    });
    for (std::size_t text = first; text < last; ++text) {
      if (!encodings[text - first].overflowing.empty()) {
        entities[text] = merge_windows(std::move(entities[text]));
      }
    }
  }

  [[nodiscard]] EncodeOptions encode_options(const TokenClassificationOptions& options) const {
    if (!options.stride) return {.max_length = options.max_length, .return_overflow = false};
    const Index most = model_->config().max_tokens();
    return {.max_length = options.max_length == 0 ? most : std::min(options.max_length, most),
            .stride = *options.stride};
  }

  /// Adds the entities of one window, whose tokens have the rows of `scores`.
  void add_entities(std::string_view text, const Encoding& window, const Scalar* scores,
                    const TokenClassificationOptions& options,
                    std::vector<Entity>& entities) const {
    const bool none = options.aggregation == AggregationStrategy::none;
    const std::vector<Tagged> tagged = tag(tokens_of(text, window, scores), options.aggregation);
    for (std::size_t begin = 0, end = 0; begin < tagged.size(); begin = end) {
      end = begin + 1;
      while (!none && end < tagged.size() && continues(tagged[end - 1], tagged[end])) ++end;
      const std::string& label = labels_[tagged[begin].label];
      Entity entity;
      entity.type = none ? label : label.substr(label.find('-') + 1);  // all of it without a '-'
      const auto& ignored = options.ignore_labels;
      if (std::find(ignored.begin(), ignored.end(), entity.type) != ignored.end()) continue;
      entity.start = tagged[begin].span.begin;
      entity.end = std::max<std::size_t>(entity.start, tagged[end - 1].span.end);
      entity.text = text.substr(entity.start, entity.end - entity.start);
      for (std::size_t i = begin; i < end; ++i) entity.score += tagged[i].score;
      entity.score /= static_cast<double>(end - begin);
      entities.push_back(std::move(entity));
    }
  }

  /// The tokens of the text itself.
  std::vector<Token> tokens_of(std::string_view text, const Encoding& window,
                               const Scalar* scores) const {
    std::vector<Token> tokens;
    for (std::size_t i = 0; i < window.ids.size(); ++i, scores += labels_.size()) {
      if (window.special_tokens_mask[i] != 0) continue;
      const ByteSpan span = window.offsets[i];
      tokens.push_back({span, continues_word(text, window.ids[i], span), scores});
    }
    return tokens;
  }

  /// Whether a token goes on with the word of the one before it. As HF: where the vocabulary marks
  /// such tokens by a prefix, those do that are spelled longer or shorter than their text; else
  /// those that neither begin with a space nor follow one.
  bool continues_word(std::string_view text, TokenId id, ByteSpan span) const {
    if (id == tokenizer_->find_unk_token_id()) return false;
    if (!tokenizer_->continuing_subword_prefix().empty()) {
      return detail::count_characters(tokenizer_->id_to_token(id)) !=
             detail::count_characters(text.substr(span.begin, span.size()));
    }
    return span.begin > 0 && text.substr(span.begin - 1, 2).find(' ') == std::string_view::npos;
  }

  /// The labels of tokens or, where the strategy asks for it, of words.
  std::vector<Tagged> tag(std::span<const Token> tokens, AggregationStrategy strategy) const {
    const bool words =
        strategy != AggregationStrategy::none && strategy != AggregationStrategy::simple;
    std::vector<Tagged> tagged;
    for (std::size_t begin = 0, end = 0; begin < tokens.size(); begin = end) {
      end = begin + 1;
      while (words && end < tokens.size() && tokens[end].continues_word) ++end;
      const auto word = tokens.subspan(begin, end - begin);
      tagged.push_back(strategy == AggregationStrategy::average ? average(word)
                       : strategy == AggregationStrategy::max   ? surest(word)
                                                                : best(word.front().scores));
      tagged.back().span = {word.front().span.begin, word.back().span.end};
    }
    return tagged;
  }

  /// The likeliest label; the first of equals.
  template <class Number>
  Tagged best(const Number* scores) const {
    const Number* most = std::max_element(scores, scores + labels_.size());
    return {{}, static_cast<std::size_t>(most - scores), static_cast<double>(*most)};
  }

  Tagged surest(std::span<const Token> word) const {
    Tagged surest;
    for (const Token& token : word) {
      const Tagged tagged = best(token.scores);
      if (tagged.score > surest.score) surest = tagged;
    }
    return surest;
  }

  Tagged average(std::span<const Token> word) const {
    std::vector<double> scores(labels_.size());
    for (const Token& token : word) {
      for (std::size_t i = 0; i < scores.size(); ++i) {
        scores[i] += static_cast<double>(token.scores[i]) / static_cast<double>(word.size());
      }
    }
    return best(scores.data());
  }

  /// Whether two neighbours are one entity. Only "B-" and "I-" are taken off: other prefixes are
  /// part of what has to agree.
  bool continues(const Tagged& before, const Tagged& after) const {
    const auto type = [](std::string_view label) {
      return label.starts_with("B-") || label.starts_with("I-") ? label.substr(2) : label;
    };
    const std::string_view label = labels_[after.label];
    return type(label) == type(labels_[before.label]) && !label.starts_with("B-");
  }

  /// The entities of all windows of one text without those that overlap better ones. Lengths are
  /// compared in characters.
  static std::vector<Entity> merge_windows(std::vector<Entity> entities) {
    if (entities.empty()) return entities;
    std::stable_sort(entities.begin(), entities.end(),
                     [](const Entity& a, const Entity& b) { return a.start < b.start; });
    std::vector<Entity> merged;
    Entity last = entities.front();
    for (const Entity& entity : entities) {  // as HF, the first too: of no bytes, it comes twice
      if (entity.start < last.end) {
        const std::size_t length = detail::count_characters(entity.text);
        const std::size_t last_length = detail::count_characters(last.text);
        if (length > last_length || (length == last_length && entity.score > last.score)) {
          last = entity;
        }
      } else {
        merged.push_back(std::exchange(last, entity));
      }
    }
    merged.push_back(last);
    return merged;
  }

  std::vector<std::string> labels_;
};

/// Token classification in float, as most programs use it.
using TokenClassification = BasicTokenClassification<float>;

}  // namespace eigenformer
