// SpanBERT as it is pretrained (Joshi et al., arXiv:1907.10529): BERT's masked language model and
// the span boundary objective, which tells each token of a hidden span from the tokens on both
// sides of the span and from its place in it. What comes out is a BERT. Mirrors
// fairseq/models/pair_bert.py and fairseq/criterions/spanbert_loss.py of facebookresearch/SpanBERT.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/models/bert.hpp"

namespace eigenformer {

/// The hidden tokens that the boundary objective asks for.
struct SpanBoundaries {
  std::vector<Index> targets;   ///< which of the hidden tokens they are, rising
  std::vector<Index> left;      ///< of each, the row of the token before its span,
  std::vector<Index> right;     ///< that of the token after it,
  std::vector<TokenId> places;  ///< and its number in the span, from 0
};

/// Those of the hidden tokens at `positions` whose span has a token of its text on either side, and
/// which are among its first `most`. `spans` are the rows of each one's span; what stands beside it
/// may be `[CLS]` or `[SEP]`, where fairseq passes the span over. Throws ShapeError for a position
/// outside its span or the batch.
[[nodiscard]] inline SpanBoundaries span_boundaries(const Batch& batch,
                                                    std::span<const Index> positions,
                                                    std::span<const RowRange> spans, Index most) {
  check<ShapeError>(spans.size() == positions.size(), "span boundaries: ", spans.size(),
                    " spans of ", positions.size(), " tokens");
  SpanBoundaries boundaries;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto [begin, end] = spans[i];
    const Index at = positions[i];
    check<ShapeError>(at >= std::max<Index>(begin, 0) && at < std::min(end, batch.tokens()),
                      "span boundaries: row ", at, " is outside its span, ", begin, " to ", end,
                      ", or the ", batch.tokens(), " tokens");
    const auto text = std::upper_bound(batch.offsets.begin(), batch.offsets.end(), at);  // its end
    if (begin <= *(text - 1) || end >= *text || at - begin >= most) continue;
    boundaries.targets.push_back(static_cast<Index>(i));
    boundaries.left.push_back(begin - 1);
    boundaries.right.push_back(end);
    boundaries.places.push_back(static_cast<TokenId>(at - begin));
  }
  return boundaries;
}

/// The head of the boundary objective: of a span from row s to row e, the token in place i has the
/// logits f2(f1([h(s-1); h(e+1); p(i)])) E^T + bias, with f(x) = LayerNorm(activation(dense(x))),
/// hidden states h, places p, and the word embeddings E.
template <class Scalar>
class SpanBoundaryHead {
 public:
  static constexpr Index place_size = 200;  ///< numbers of a place's embedding

  /// Draws all weights. The configuration may have a number of places, max_pair_targets; else there
  /// are 20. Throws ConfigError.
  SpanBoundaryHead(const EncoderConfig& config, const Initializer& init)
      : places_(config.own_size("max_pair_targets", 20, EncoderConfig::max_features), place_size,
                -1, init),
        first_(2 * config.hidden_size + place_size, config, init),
        second_(config.hidden_size, config, init),
        bias_(init.constant<Scalar>({config.vocab_size}, 0)) {}

  /// Hidden states `[tokens, hidden]` to `[targets, vocab]`. Throws ShapeError for rows and places
  /// that are not there.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& hidden,
                                          const SpanBoundaries& asked,
                                          const Parameter<Scalar>& word_embeddings) const {
    if (asked.targets.empty()) return Tensor<Scalar>({0, bias_.shape()[0]});
    const Tensor<Scalar> parts[] = {gather_rows(cx, hidden, asked.left),
                                    gather_rows(cx, hidden, asked.right),
                                    places_(cx, asked.places)};
    const Tensor<Scalar> x = concat_tensors<Scalar>(cx, 1, parts);  // [targets, 2 hidden + 200]
    return linear(cx, second_(cx, first_(cx, x)), word_embeddings, bias_);
  }

  /// How many tokens of a span have a place.
  [[nodiscard]] Index places() const noexcept { return places_.weight().shape()[0]; }

  /// As EncoderModel::pack.
  void pack(ThreadPool& threads, Precision precision) {
    first_.dense.pack(threads, precision);
    second_.dense.pack(threads, precision, &first_.norm);
  }

  /// Visits `position_embeddings`, `transform.0`, `transform.1` and `bias`.
  static void visit(auto& self, auto&& f) {
    f("position_embeddings", self.places_);
    f("transform.0", self.first_);
    f("transform.1", self.second_);
    f("bias", self.bias_);
  }

 private:
  /// LayerNorm(activation(dense(x))), `[rows, in]` to `[rows, hidden]`.
  struct Transform {
    Transform(Index in, const EncoderConfig& config, const Initializer& init)
        : dense(in, config.hidden_size, init),
          norm(config.hidden_size, config.layer_norm_eps, init),
          activation(config.hidden_act) {}

    Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x) const {
      return norm(cx, dense(cx, x, activation));
    }
    static void visit(auto& self, auto&& f) {
      f("dense", self.dense);
      f("LayerNorm", self.norm);
    }

    Linear<Scalar> dense;
    LayerNorm<Scalar> norm;
    Activation activation;
  };

  Embedding<Scalar> places_;  // [places, 200]
  Transform first_;
  Transform second_;
  Parameter<Scalar> bias_;  // [vocab]
};

/// What SpanBertForPreTraining computes.
template <class Scalar>
struct SpanBertForPreTrainingOutput {
  Tensor<Scalar> prediction_logits;  ///< of the masked language model, `[hidden tokens, vocab]`
  Tensor<Scalar> boundary_logits;    ///< of the boundary objective, `[targets, vocab]`
  std::vector<Index> targets;        ///< as SpanBoundaries::targets
};

/// BertForMaskedLM with a SpanBoundaryHead. Its folder is that of a BertForMaskedLM, with the
/// head's own weights beside it.
template <class Scalar>
class SpanBertForPreTraining
    : public LanguageModel<Scalar, BertPreTrainedModel, SpanBertForPreTraining<Scalar>> {
  using Base = LanguageModel<Scalar, BertPreTrainedModel, SpanBertForPreTraining>;
  using Loader = typename Base::PreTrainedModel;
  friend Loader;

 public:
  /// Its name without the family's: the class that others load its folders as.
  static constexpr std::string_view suffix = "ForMaskedLM";
  using SpanOutput = SpanBertForPreTrainingOutput<Scalar>;  ///< of hidden spans

  /// A model with fresh weights. Throws ConfigError.
  explicit SpanBertForPreTraining(const EncoderConfig& config)
      : SpanBertForPreTraining(config, Initializer(0, config.initializer_range)) {}
  /// The same with weights from `init`.
  SpanBertForPreTraining(const EncoderConfig& config, const Initializer& init)
      : Base(config, init), boundary_head_(config, init) {}

  using Base::operator();

  /// Both logits of the hidden tokens at `positions`, in `spans`, as span_boundaries takes them.
  [[nodiscard]] SpanOutput operator()(Context& cx, const Batch& batch,
                                      std::span<const Index> positions,
                                      std::span<const RowRange> spans) const {
    SpanBoundaries asked = boundaries(batch, positions, spans);
    const Tensor<Scalar> hidden = this->base_model()(cx, batch);  // [tokens, hidden]
    Tensor<Scalar> of_boundaries =
        boundary_head_(cx, hidden, asked, this->base_model().word_embeddings().weight());
    return {this->head(cx, gather_rows(cx, hidden, positions)), std::move(of_boundaries),
            std::move(asked.targets)};
  }

  /// What the boundary objective asks for: span_boundaries with the head's places. Tokens further
  /// on in a longer span have the masked language model's loss alone.
  [[nodiscard]] SpanBoundaries boundaries(const Batch& batch, std::span<const Index> positions,
                                          std::span<const RowRange> spans) const {
    return span_boundaries(batch, positions, spans, boundary_head_.places());
  }

  /// The mean cross entropy of all hidden tokens and that of the boundary objective, added up, with
  /// a label for each hidden token. Where the objective asks for none, it is the first alone.
  /// (fairseq divides the second sum by one more than it has terms, which is never 0.)
  [[nodiscard]] Tensor<Scalar> loss(Context& cx, const SpanOutput& outputs,
                                    std::span<const TokenId> labels) const {
    const Tensor<Scalar> of_tokens = cross_entropy(cx, outputs.prediction_logits, labels);
    if (outputs.targets.empty()) return of_tokens;
    std::vector<TokenId> of_targets;
    for (const Index i : outputs.targets) of_targets.push_back(labels[static_cast<std::size_t>(i)]);
    return add(cx, of_tokens, cross_entropy(cx, outputs.boundary_logits, of_targets));
  }

  /// Visits the language model's head and `cls.pair_target_predictions`.
  static void visit_head(auto& self, auto&& f) {
    Base::visit_head(self, f);
    f("cls.pair_target_predictions", self.boundary_head_);
  }

 private:
  void pack_head(ThreadPool& threads, Precision precision) {
    Base::pack_head(threads, precision);
    boundary_head_.pack(threads, precision);
  }

  SpanBoundaryHead<Scalar> boundary_head_;
};

}  // namespace eigenformer
