// What attention keeps of the tokens that it has seen, so that a decoder computes each token once:
// the keys and values of every text, layer by layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "eigenformer/tensor/tensor.hpp"

namespace eigenformer {

namespace detail {

/// Throws ShapeError unless all of `kept` are numbers of texts, in rising order.
inline void check_kept(std::span<const Index> kept, Index texts) {
  for (std::size_t i = 0; i < kept.size(); ++i) {
    check<ShapeError>(kept[i] >= (i == 0 ? 0 : kept[i - 1] + 1) && kept[i] < texts, "cache: text ",
                      kept[i], " of ", texts, "; those to keep must be there and in rising order");
  }
}

}  // namespace detail

/// The keys and values of one layer, text by text. Mirrors transformers' DynamicLayer.
template <class Scalar>
class KeyValueCache {
 public:
  /// Of texts of which no token has been seen.
  explicit KeyValueCache(Index texts = 0) : texts_(static_cast<std::size_t>(texts)) {}

  /// How many texts there are.
  [[nodiscard]] Index texts() const noexcept { return static_cast<Index>(texts_.size()); }
  /// How many tokens of a text have been seen.
  [[nodiscard]] Index length(Index text) const { return at(text).length; }
  /// The keys of a text, `[length, hidden]`.
  [[nodiscard]] Tensor<Scalar> keys(Index text) const { return half(text, 0); }
  /// The values of a text, `[length, hidden]`.
  [[nodiscard]] Tensor<Scalar> values(Index text) const { return half(text, 1); }

  /// Adds tokens of a text: keys and values beside each other, `[tokens, 2 * hidden]`.
  void append(Index text, const Tensor<Scalar>& key_value) {
    check<ShapeError>(text >= 0 && text < texts(), "cache: text ", text, " of ", texts());
    Text& own = texts_[static_cast<std::size_t>(text)];
    const Index end = own.length + key_value.size(0);
    const Index room = own.key_value.defined() ? own.key_value.size(0) : 0;
    if (!own.key_value.defined() || end > room) {
      Tensor<Scalar> larger(Shape{std::max(end + end / 2, fewest), key_value.cols()});
      if (own.length > 0) {
        larger.rows(0, own.length).copy_from(std::as_const(own.key_value).rows(0, own.length));
      }
      own.key_value = std::move(larger);
    }
    own.key_value.rows(own.length, end).copy_from(key_value);
    own.length = end;
  }

  /// Keeps some of the texts, in rising order, and forgets the others. Throws ShapeError.
  void keep(std::span<const Index> kept) {
    detail::check_kept(kept, texts());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      if (static_cast<Index>(i) != kept[i]) {
        texts_[i] = std::move(texts_[static_cast<std::size_t>(kept[i])]);
      }
    }
    texts_.resize(kept.size());
  }

 private:
  static constexpr Index fewest = 32;  // tokens that there is room for; then half as many more

  struct Text {
    Tensor<Scalar> key_value;  // [room, 2 * hidden]
    Index length = 0;
  };

  [[nodiscard]] const Text& at(Index text) const {
    check<ShapeError>(text >= 0 && text < texts(), "cache: text ", text, " of ", texts());
    return texts_[static_cast<std::size_t>(text)];
  }
  [[nodiscard]] Tensor<Scalar> half(Index text, Index i) const {
    const Text& own = at(text);
    const Index n = own.key_value.cols() / 2;
    return own.key_value.rows(0, own.length).slice(-1, i * n, (i + 1) * n);
  }

  std::vector<Text> texts_;
};

/// The caches of all layers of a decoder. After an exception from the decoder it is of no more use:
/// some layers may have seen more than others. Mirrors transformers' DynamicCache.
template <class Scalar>
class DecoderCache {
 public:
  /// Of texts of which no token has been seen.
  DecoderCache(Index layers, Index texts)
      : layers_(static_cast<std::size_t>(layers), KeyValueCache<Scalar>(texts)),
        lengths_(static_cast<std::size_t>(texts)) {}

  /// How many layers there are.
  [[nodiscard]] Index layers() const noexcept { return static_cast<Index>(layers_.size()); }
  /// How many texts there are.
  [[nodiscard]] Index texts() const noexcept { return static_cast<Index>(lengths_.size()); }
  /// How many tokens of a text all layers have seen.
  [[nodiscard]] Index length(Index text) const {
    check<ShapeError>(text >= 0 && text < texts(), "cache: text ", text, " of ", texts());
    return lengths_[static_cast<std::size_t>(text)];
  }
  /// One layer's cache.
  [[nodiscard]] KeyValueCache<Scalar>& layer(Index i) {
    return layers_[static_cast<std::size_t>(i)];
  }

  /// Notes that all layers have seen the tokens of `batch`.
  void advance(const Batch& batch) {
    for (Index text = 0; text < texts(); ++text) {
      lengths_[static_cast<std::size_t>(text)] += batch.segment(text).size();
    }
  }

  /// As KeyValueCache::keep, for all layers.
  void keep(std::span<const Index> kept) {
    detail::check_kept(kept, texts());
    for (KeyValueCache<Scalar>& layer : layers_) layer.keep(kept);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      lengths_[i] = lengths_[static_cast<std::size_t>(kept[i])];
    }
    lengths_.resize(kept.size());
  }

 private:
  std::vector<KeyValueCache<Scalar>> layers_;
  std::vector<Index> lengths_;
};

}  // namespace eigenformer
