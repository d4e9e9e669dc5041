// Multi-head attention (arXiv:1706.03762): heads attend side by side, each to its share of the
// projected columns; their outputs are projected once more. Query, key and value projections are
// one matrix inside, three names outside.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "eigenformer/autograd/ops/attention.hpp"
#include "eigenformer/autograd/ops/rearrange.hpp"
#include "eigenformer/nn/key_value_cache.hpp"
#include "eigenformer/nn/linear.hpp"

namespace eigenformer {

/// Where the texts of a packed batch begin and end, and what may be attended to.
struct Sequences {
  std::span<const Index> segments = {};     ///< `[n + 1]` offsets; empty: one text
  std::span<const std::uint8_t> mask = {};  ///< `[tokens]`, 0: nothing attends to it; empty: all 1

  /// One text, all of it seen.
  Sequences() = default;
  /// Refers to the offsets and the mask, which must outlive it.
  explicit Sequences(std::span<const Index> offsets, std::span<const std::uint8_t> key_mask = {})
      : segments(offsets), mask(key_mask) {}
  /// Refers to the batch, which must outlive it.
  explicit Sequences(const Batch& batch) : Sequences(batch.offsets, batch.mask) {}
};

/// Calls f(rows, their sequences) for runs of whole texts that cover `tokens` rows: as many as have
/// `at_once` tokens, or a single longer one.
template <class Function>
void for_each_group(Context& cx, const Sequences& sequences, Index tokens, Index at_once,
                    Function&& f) {
  const std::span<const Index> ends = sequences.segments;
  if (ends.empty()) return f(RowRange{0, tokens}, sequences);
  check<ShapeError>(ends.front() == 0 && ends.back() == tokens, "sequences: texts from ",
                    ends.front(), " to ", ends.back(), " but ", tokens, " rows");
  check<ShapeError>(sequences.mask.empty() || static_cast<Index>(sequences.mask.size()) == tokens,
                    "sequences: ", sequences.mask.size(), " mask values for ", tokens, " rows");
  Tensor<Index> own = cx.empty<Index>({static_cast<Index>(ends.size())});  // [texts + 1]
  for (std::size_t first = 0; first + 1 < ends.size();) {
    std::size_t last = first + 1;
    while (last + 1 < ends.size() && ends[last + 1] - ends[first] <= at_once) ++last;
    const RowRange rows{ends[first], ends[last]};
    for (std::size_t i = first; i <= last; ++i) own.data()[i - first] = ends[i] - rows.begin;
    Sequences part(std::span<const Index>(own.data(), last - first + 1));
    if (!sequences.mask.empty()) {
      part.mask = sequences.mask.subspan(static_cast<std::size_t>(rows.begin),
                                         static_cast<std::size_t>(rows.size()));
    }
    f(rows, part);
    first = last;
  }
}

/// Sizes and behaviour of a MultiHeadAttention.
struct MultiHeadAttentionOptions {
  Index hidden = 0;                  ///< columns in and out
  Index heads = 1;                   ///< must divide hidden
  double dropout = 0;                ///< of the probabilities
  bool causal = false;               ///< tokens see no later ones
  std::optional<double> scale = {};  ///< of the scores; default 1 / sqrt(head size)
};

/// Names of the four projections in a file.
struct MultiHeadAttentionNames {
  std::string_view query = "query";    ///< a third of the rows of one matrix inside
  std::string_view key = "key";        ///< the second third
  std::string_view value = "value";    ///< the last third
  std::string_view output = "output";  ///< the layer that joins the heads
};

/// Self-attention or cross-attention with projections, `[tokens, hidden]` to `[tokens, hidden]`.
template <class Scalar>
class MultiHeadAttention {
 public:
  /// Draws the weights of all projections. Throws ConfigError where the heads do not divide
  /// `hidden`.
  explicit MultiHeadAttention(const MultiHeadAttentionOptions& options,
                              const Initializer& init = {})
      : query_key_value_(options.hidden, 3 * options.hidden, init),
        output_(options.hidden, options.hidden, init),
        options_(options) {
    check<ConfigError>(
        options.hidden > 0 && options.heads > 0 && options.hidden % options.heads == 0,
        "attention: ", options.heads, " heads do not divide hidden size ", options.hidden);
  }

  /// Self-attention within each text. `probabilities` as in scaled_dot_product_attention.
  [[nodiscard]] Tensor<Scalar> operator()(
      Context& cx, const Tensor<Scalar>& x, const Sequences& sequences = {},
      AttentionProbabilities<Scalar>* probabilities = nullptr) const {
    const Tensor<Scalar> projected = query_key_value_(cx, x);  // [tokens, 3 * hidden]
    const Tensor<Scalar> context = self_attention(
        cx, projected, attention_options(sequences.segments, {}, sequences.mask), probabilities);
    return output_(cx, context);
  }

  /// The same for some rows of x alone, in rising order: `[rows, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences,
                                          std::span<const Index> rows) const {
    // What a query sees depends on its place among the keys, which rows alone do not tell.
    if (options_.causal) return gather_rows(cx, (*this)(cx, x, sequences), rows);
    const Tensor<Scalar> projected = query_key_value_(cx, x);  // [tokens, 3 * hidden]
    const Tensor<Scalar> query = gather_rows(cx, part(cx, projected, 0), rows);  // [rows, hidden]
    const std::array<Index, 2> one_text{0, x.size(0)};
    Sequences texts = sequences;
    if (texts.segments.empty()) texts.segments = one_text;
    std::vector<Index> query_segments;  // how many of the rows come before each text's end
    for (const Index end : texts.segments) {
      query_segments.push_back(std::lower_bound(rows.begin(), rows.end(), end) - rows.begin());
    }
    const Tensor<Scalar> context = scaled_dot_product_attention(
        cx, query, part(cx, projected, 1), part(cx, projected, 2),
        attention_options(query_segments, texts.segments, texts.mask));  // [rows, hidden]
    return output_(cx, context);
  }

  /// Self-attention of texts that go on from what `cache` has of them, which gets what is new too.
  /// Throws NotDifferentiable with a tape, and ShapeError where there are other texts in the cache.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences,
                                          KeyValueCache<Scalar>& cache) const {
    check<NotDifferentiable>(cx.tape == nullptr, "attention: a cache of keys has no gradient");
    check<ShapeError>(static_cast<Index>(sequences.segments.size()) == cache.texts() + 1,
                      "attention: offsets of ", sequences.segments.size(), " but a cache of ",
                      cache.texts(), " texts, which have one more");
    check<ShapeError>(sequences.mask.empty(), "attention: a mask and a cache do not go together");
    const Index n = options_.hidden;
    const Tensor<Scalar> projected = query_key_value_(cx, x);   // [tokens, 3 * hidden]
    Tensor<Scalar> context = cx.empty<Scalar>({x.size(0), n});  // [tokens, hidden]
    for (Index text = 0; text < cache.texts(); ++text) {
      const Index begin = sequences.segments[static_cast<std::size_t>(text)];
      const Index end = sequences.segments[static_cast<std::size_t>(text) + 1];
      const Tensor<Scalar> own = projected.rows(begin, end);  // [tokens of the text, 3 * hidden]
      cache.append(text, own.slice(-1, n, 3 * n));
      context.rows(begin, end)
          .copy_from(scaled_dot_product_attention(cx, own.slice(-1, 0, n), cache.keys(text),
                                                  cache.values(text),
                                                  attention_options({}, {}, {})));
    }
    return output_(cx, context);
  }

  /// Cross-attention: texts of `x` to the texts of `memory` `[memory tokens, hidden]`.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, const Tensor<Scalar>& x,
                                          const Sequences& sequences, const Tensor<Scalar>& memory,
                                          const Sequences& memory_sequences) const {
    const Index n = options_.hidden;
    const std::array<Index, 2> one_text{0, memory.rank() == 0 ? 0 : memory.size(0)};
    const Tensor<Scalar> query = query_key_value_.columns(cx, x, {0, n});  // [tokens, hidden]
    const Tensor<Scalar> key_value =
        query_key_value_.columns(cx, memory, {n, 3 * n});  // [memory tokens, 2 * hidden]
    const Tensor<Scalar> context = scaled_dot_product_attention(
        cx, query, slice(cx, key_value, -1, 0, n), slice(cx, key_value, -1, n, 2 * n),
        attention_options(sequences.segments,
                          memory_sequences.segments.empty() ? one_text : memory_sequences.segments,
                          memory_sequences.mask));  // [tokens, hidden]
    return output_(cx, context);
  }

  /// Packs for inference; the inputs come from `norm`, unless null.
  void pack(ThreadPool& threads, Precision precision, const LayerNorm<Scalar>* norm = nullptr) {
    query_key_value_.pack(threads, precision, norm);
    output_.pack(threads, precision);
  }

  /// Visits query, key and value, each as rows of one weight and one bias, and the output layer,
  /// under `names`.
  static void visit(auto& self, auto&& f, const MultiHeadAttentionNames& names = {}) {
    const Index n = self.options_.hidden;
    const std::string_view parts[] = {names.query, names.key, names.value};
    for (Index i = 0; i < 3; ++i) {
      const std::string name(parts[i]);
      f(name + ".weight", rows_of(self.query_key_value_.weight(), i * n, (i + 1) * n));
      f(name + ".bias", rows_of(self.query_key_value_.bias(), i * n, (i + 1) * n));
    }
    f(names.output, self.output_);
  }
  /// Visits query, key and value as the one layer that they are, and the output layer.
  static void visit_joint(auto& self, auto&& f, std::string_view query_key_value,
                          std::string_view output) {
    f(query_key_value, self.query_key_value_);
    f(output, self.output_);
  }

 private:
  /// Query, key or value (0 to 2) among the projections.
  Tensor<Scalar> part(Context& cx, const Tensor<Scalar>& projected, Index i) const {
    return slice(cx, projected, -1, i * options_.hidden, (i + 1) * options_.hidden);
  }

  [[nodiscard]] AttentionOptions attention_options(std::span<const Index> segments,
                                                   std::span<const Index> key_segments,
                                                   std::span<const std::uint8_t> mask) const {
    return {.heads = options_.heads,
            .causal = options_.causal,
            .segments = segments,
            .key_segments = key_segments,
            .key_mask = mask,
            .scale = options_.scale,
            .dropout = options_.dropout,
            .precision = output_.precision()};
  }

  Linear<Scalar> query_key_value_;  // weight [3 * hidden, hidden]
  Linear<Scalar> output_;
  MultiHeadAttentionOptions options_;
};

}  // namespace eigenformer
