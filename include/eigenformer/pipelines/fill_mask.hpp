// Fill-mask: a text with `<mask>` in it goes in, the most likely tokens come out.
// Mirrors transformers' FillMaskPipeline.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/autograd/ops/reduce.hpp"
#include "eigenformer/models/auto_model.hpp"
#include "eigenformer/pipelines/ranking.hpp"
#include "eigenformer/pipelines/text_pipeline.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// One token for one mask.
struct MaskGuess {
  std::string token;     ///< as text, with its leading space if it has one
  TokenId id = 0;        ///< its number in the vocabulary
  double score = 0;      ///< probability, over the whole vocabulary
  std::string sequence;  ///< the text with the token filled in
};

/// What BasicFillMask can be asked for.
struct FillMaskOptions {
  Index top_k = 5;  ///< how many guesses for each mask
  /// Only these are considered; scores stay probabilities over the whole vocabulary. One that is
  /// not a token is represented by the first token of its text. Words inside a text usually need
  /// their leading space (" Paris"). Empty: the whole vocabulary.
  std::vector<std::string> targets = {};
  Index max_length = 0;  ///< truncate to this many tokens; 0: a text too long is an error
};

/// A tokenizer and a masked language model. Use one per thread; copies share the model.
/// `MaskedLM<Scalar>` is any model that has `from_pretrained(path, LoadOptions)`, and
/// `operator()(cx, batch, positions)` to `[positions, vocab]`.
template <class Scalar, template <class> class MaskedLM = AutoModelForMaskedLM>
class BasicFillMask : public TextPipeline<MaskedLM<Scalar>, BasicFillMask<Scalar, MaskedLM>> {
  using Base = typename BasicFillMask::TextPipeline;

 public:
  using Base::Base;

  /// The guesses for the one mask of `text`, best first. Throws Error where there is not exactly
  /// one, and ShapeError for a text that is longer than the model takes.
  [[nodiscard]] std::vector<MaskGuess> operator()(std::string_view text,
                                                  const FillMaskOptions& options = {}) {
    auto guesses = all(text, options);
    check(guesses.size() == 1, "fill_mask: the text has ", guesses.size(),
          " masks; use all() for several");
    return std::move(guesses.front());
  }

  /// The guesses for each mask of `text`, each best first. Throws Error where there is none.
  [[nodiscard]] std::vector<std::vector<MaskGuess>> all(std::string_view text,
                                                        const FillMaskOptions& options = {}) {
    return all(tokenizer_->encode(text, {.max_length = options.max_length}), options);
  }

  /// The same for a text, or a pair of texts, that is tokens already.
  [[nodiscard]] std::vector<std::vector<MaskGuess>> all(const Encoding& encoding,
                                                        const FillMaskOptions& options = {}) {
    check(options.top_k >= 1, "fill_mask: top_k is ", options.top_k, "; it must be 1 or more");
    const TokenId mask = tokenizer_->mask_token_id();
    std::vector<Index> positions;
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
      if (encoding.ids[i] == mask) positions.push_back(static_cast<Index>(i));
    }
    check(!positions.empty(), "fill_mask: there is no ", tokenizer_->id_to_token(mask),
          " in the text");
    Batch batch;
    batch.add(encoding.ids, encoding.type_ids);
    const Tensor<Scalar> probabilities =
        softmax(context_, (*model_)(context_, batch, positions));  // [masks, vocab]
    const std::vector<TokenId> candidates = candidates_of(options.targets, probabilities.cols());
    std::vector<std::vector<MaskGuess>> guesses;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      guesses.push_back(
          best(probabilities.view().row(static_cast<Index>(i)), candidates, options.top_k));
      for (MaskGuess& guess : guesses.back()) {
        std::vector<TokenId> filled = encoding.ids;
        filled[static_cast<std::size_t>(positions[i])] = guess.id;
        // As HF: other masks stay readable, so special tokens go only where there is one mask.
        guess.sequence = tokenizer_->decode(filled, positions.size() == 1);
      }
    }
    return guesses;
  }

 private:
  using Base::context_;
  using Base::model_;
  using Base::tokenizer_;

  [[nodiscard]] std::vector<TokenId> candidates_of(const std::vector<std::string>& targets,
                                                   Index vocabulary) const {
    std::vector<TokenId> candidates;
    if (targets.empty()) {
      candidates.resize(static_cast<std::size_t>(vocabulary));
      std::iota(candidates.begin(), candidates.end(), 0);
      return candidates;
    }
    for (const std::string& target : targets) {
      TokenId id = 0;
      if (const auto token = tokenizer_->token_to_id(target)) {
        id = *token;
      } else {
        const Encoding pieces = tokenizer_->encode(
            target, {.add_special_tokens = false, .details = EncodingDetails::ids});
        check(!pieces.ids.empty(), "fill_mask: target '", target, "' has no tokens");
        id = pieces.ids.front();
      }
      check(id < vocabulary, "fill_mask: target '", target, "' has id ", id,
            " but the model's vocabulary has ", vocabulary, " tokens");
      if (std::find(candidates.begin(), candidates.end(), id) == candidates.end()) {
        candidates.push_back(id);
      }
    }
    return candidates;
  }

  [[nodiscard]] std::vector<MaskGuess> best(const Scalar* probabilities,
                                            std::vector<TokenId> candidates, Index top_k) const {
    std::vector<MaskGuess> guesses;
    for (const TokenId id : best_first(probabilities, std::move(candidates), top_k)) {
      // An id beyond the tokenizer's vocabulary, which some models pad, is no text.
      guesses.push_back(
          {tokenizer_->decode({id}, false), id, static_cast<double>(probabilities[id]), ""});
    }
    return guesses;
  }
};

/// Fill-mask in float, as most programs use it.
using FillMask = BasicFillMask<float>;

}  // namespace eigenformer
