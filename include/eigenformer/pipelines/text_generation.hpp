// Text generation: the beginning of a text goes in, the rest comes out, token by token. What the
// model has seen stays in a cache.
// Mirrors transformers' GenerationMixin.generate and TextGenerationPipeline.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/models/gpt2.hpp"
#include "eigenformer/pipelines/sampling.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// What generate() can be asked for; sampling as in SamplingOptions.
struct GenerationOptions {
  Index max_new_tokens = 50;      ///< how many tokens are added at most
  SamplingOptions sampling = {};  ///< how they are chosen
  /// Tokens that end a text, and belong to it; absent: those of the model's configuration.
  std::optional<std::vector<TokenId>> eos_token_id = {};
};

/// Why a text ended.
enum class FinishReason : std::uint8_t {
  length,  ///< `max_new_tokens` were added
  eos,     ///< a token that ends a text came
  full,    ///< the model takes no more tokens
  stop,    ///< the caller asked for no more, or a stop string came
};

/// A text that was generated.
struct GeneratedIds {
  std::vector<TokenId> ids;                    ///< the prompt's and the new ones
  Index prompt = 0;                            ///< how many of them are the prompt's
  FinishReason finished = FinishReason::full;  ///< why there are no more
};

/// What texts go on with, for each text of `prompts`. on_token(text, id), from the number of the
/// text and its newest token, says whether the text may go on. What is drawn for a text depends on
/// the seed, its number and its tokens alone. `Model` is a language model such as GPT2LMHeadModel,
/// whose base model has cache(texts) and takes (cx, batch, cache). Throws Error for options out of
/// range, and ShapeError for a prompt that is empty or longer than the model takes.
template <class Model, class OnToken>
[[nodiscard]] std::vector<GeneratedIds> generate(Context& cx, const Model& model,
                                                 const Batch& prompts,
                                                 const GenerationOptions& options,
                                                 OnToken&& on_token) {
  options.sampling.validate();
  prompts.validate();
  check(options.max_new_tokens >= 0, "generate: max_new_tokens is ", options.max_new_tokens,
        "; it must be 0 or more");
  check<ShapeError>(prompts.mask.empty(), "generate: prompts have no mask; pack them");
  const Index most = model.config().max_tokens();
  const std::vector<TokenId> ends = options.eos_token_id.value_or(model.config().eos_token_id);
  const Rng rng(options.sampling.seed);

  std::vector<GeneratedIds> texts;
  std::vector<Index> active;  // numbers of the texts that go on, in rising order
  Batch next;                 // what the model has not seen of them
  for (Index i = 0; i < prompts.segments(); ++i) {
    const RowRange rows = prompts.segment(i);
    check<ShapeError>(rows.size() > 0, "generate: prompt ", i, " is empty; begin with a token");
    check<ShapeError>(rows.size() <= most, "generate: prompt ", i, " has ", rows.size(),
                      " tokens but the model takes ", most, "; shorten it");
    const auto ids =
        std::span(prompts.ids)
            .subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
    texts.push_back({{ids.begin(), ids.end()}, rows.size()});
    if (options.max_new_tokens == 0) {
      texts.back().finished = FinishReason::length;
    } else if (rows.size() < most) {
      active.push_back(i);
      next.add(ids);
    }
  }
  auto cache = model.base_model().cache(static_cast<Index>(active.size()));
  while (!active.empty()) {
    const auto hidden = model.base_model()(cx, next, cache);  // [new tokens, hidden]
    std::vector<Index> last;
    for (std::size_t i = 1; i < next.offsets.size(); ++i) last.push_back(next.offsets[i] - 1);
    auto logits = model.head(cx, gather_rows(cx, hidden, last));  // [texts, vocab]
    std::vector<Index> kept;  // places among those that were active
    std::vector<Index> going_on;
    next = Batch();
    for (std::size_t i = 0; i < active.size(); ++i) {
      const auto place = static_cast<Index>(i);
      GeneratedIds& text = texts[static_cast<std::size_t>(active[i])];
      const Index added = static_cast<Index>(text.ids.size()) - text.prompt;
      const std::span scores(logits.rows(place, place + 1).data(),
                             static_cast<std::size_t>(logits.cols()));
      const TokenId id = next_token(
          scores, text.ids, options.sampling,
          rng.uniform(static_cast<std::uint64_t>(active[i]), static_cast<std::uint64_t>(added)));
      text.ids.push_back(id);
      const bool more = on_token(active[i], id);
      if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
        text.finished = FinishReason::eos;
      } else if (!more) {
        text.finished = FinishReason::stop;
      } else if (added + 1 == options.max_new_tokens) {
        text.finished = FinishReason::length;
      } else if (static_cast<Index>(text.ids.size()) < most) {  // else: full
        kept.push_back(place);
        going_on.push_back(active[i]);
        next.add(std::span(&id, 1));
      }
    }
    cache.keep(kept);
    active = std::move(going_on);
  }
  return texts;
}
/// The same, told at the end.
template <class Model>
[[nodiscard]] std::vector<GeneratedIds> generate(Context& cx, const Model& model,
                                                 const Batch& prompts,
                                                 const GenerationOptions& options = {}) {
  return generate(cx, model, prompts, options, [](Index, TokenId) { return true; });
}

/// Text from tokens as they come, in whole characters: bytes of one that is not complete yet wait.
class TextStream {
 public:
  /// Refers to the tokenizer, which must outlive it.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that a token completes; may be empty.
  [[nodiscard]] std::string add(TokenId id) {
    waiting_.push_back(id);
    std::string text = tokenizer_.decode(waiting_);
    constexpr std::string_view replacement = "\xEF\xBF\xBD";  // what is not, or not yet, UTF-8
    if (text.ends_with(replacement)) return "";
    waiting_.clear();
    return text;
  }
  /// What still waits.
  [[nodiscard]] std::string finish() { return tokenizer_.decode(std::exchange(waiting_, {})); }

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> waiting_;
};

/// What BasicTextGeneration can be asked for.
struct TextGenerationOptions {
  GenerationOptions generation = {};           ///< how many tokens, and how they are chosen
  std::vector<std::string> stop_strings = {};  ///< a new text ends with the first of them
};

/// A text that was generated.
struct GeneratedText {
  std::string text;          ///< the prompt and what was added, without special tokens
  std::string added;         ///< what was added
  std::vector<TokenId> ids;  ///< the tokens of both
  FinishReason finished = FinishReason::full;  ///< why there is no more
};

/// A tokenizer and a language model that predicts the next token. Use one per thread; copies share
/// the model. `CausalLM<Scalar>` is as in generate(), with from_pretrained(path, LoadOptions).
template <class Scalar, template <class> class CausalLM = GPT2LMHeadModel>
class BasicTextGeneration
    : public TextPipeline<CausalLM<Scalar>, BasicTextGeneration<Scalar, CausalLM>> {
  using Base = typename BasicTextGeneration::TextPipeline;

 public:
  using Base::Base;

  /// What `prompt` goes on with; an empty one begins with the tokenizer's bos token. `on_text`,
  /// called with each piece of new text, gets whole characters. Throws as generate().
  template <class OnText>
  [[nodiscard]] GeneratedText operator()(std::string_view prompt,
                                         const TextGenerationOptions& options, OnText&& on_text) {
    return (*this)(tokenizer_->encode(prompt), options, std::forward<OnText>(on_text));
  }
  /// The same, told at the end.
  [[nodiscard]] GeneratedText operator()(std::string_view prompt,
                                         const TextGenerationOptions& options = {}) {
    return (*this)(prompt, options, [](std::string_view) {});
  }
  /// The same for a prompt that is tokens already.
  template <class OnText>
  [[nodiscard]] GeneratedText operator()(const Encoding& prompt,
                                         const TextGenerationOptions& options, OnText&& on_text) {
    Batch batch;
    batch.add(prompt.ids.empty() ? std::vector{tokenizer_->bos_token_id()} : prompt.ids);
    GeneratedText result;
    TextStream stream(*tokenizer_);
    const auto tell = [&](const std::string& piece) {
      if (piece.empty()) return;
      result.added += piece;
      on_text(std::string_view(piece));
    };
    const auto on_token = [&](Index, TokenId id) {
      const std::size_t before = result.added.size();
      tell(stream.add(id));
      return std::ranges::none_of(options.stop_strings, [&](const std::string& stop) {
        const std::size_t from = before - std::min(before, stop.size());
        return !stop.empty() && result.added.find(stop, from) != std::string::npos;
      });
    };
    std::vector<GeneratedIds> made =
        generate(context_, *model_, batch, options.generation, on_token);
    tell(stream.finish());
    result.text =
        tokenizer_->decode(
            std::span(made.front().ids).first(static_cast<std::size_t>(made.front().prompt))) +
        result.added;
    result.ids = std::move(made.front().ids);
    result.finished = made.front().finished;
    return result;
  }

 private:
  using Base::context_;
  using Base::model_;
  using Base::tokenizer_;
};

/// Text generation in float, as most programs use it.
using TextGeneration = BasicTextGeneration<float>;

}  // namespace eigenformer
