// Pooling: one vector for each text from the hidden states of its tokens. Mirrors the modes of
// sentence-transformers' Pooling module; where it masks padding, there is none here.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "eigenformer/autograd/tape.hpp"

namespace eigenformer {

/// How the hidden states of a text become one vector.
enum class PoolingMode : std::uint8_t {
  cls,                   ///< the first token's
  max,                   ///< the largest of each feature
  mean,                  ///< the sum divided by the number of tokens
  mean_sqrt_len_tokens,  ///< the sum divided by its square root
  weightedmean,          ///< the mean with weights 1, 2, 3, ... along the text
  lasttoken              ///< the last token's
};

/// What sentence-transformers calls the modes, in the order of PoolingMode.
inline constexpr std::array<std::string_view, 6> pooling_mode_names = {
    "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"};

/// The mode of that name, if there is one.
[[nodiscard]] constexpr std::optional<PoolingMode> find_pooling_mode(
    std::string_view name) noexcept {
  for (std::size_t i = 0; i < pooling_mode_names.size(); ++i) {
    if (pooling_mode_names[i] == name) return static_cast<PoolingMode>(i);
  }
  return std::nullopt;
}

/// One row for each segment of `hidden` `[tokens, n]`, the modes side by side:
/// `[segments, modes * n]`; zeros for a segment without tokens. `segments` are `[count + 1]`
/// offsets. Throws ShapeError, and NotDifferentiable when a tape tracks `hidden`.
template <class Scalar>
[[nodiscard]] Tensor<Scalar> pool_segments(Context& cx, const Tensor<Scalar>& hidden,
                                           std::span<const Index> segments,
                                           std::span<const PoolingMode> modes) {
  using Weights = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
  require_untracked<Scalar>(cx, "pool_segments", hidden);
  check<ShapeError>(hidden.rank() == 2 && !segments.empty() && segments.front() == 0 &&
                        segments.back() == hidden.size(0) &&
                        std::is_sorted(segments.begin(), segments.end()),
                    "pool_segments: offsets must rise from 0 to the rows of ", hidden.shape());
  const auto count = static_cast<Index>(segments.size()) - 1;
  const auto mode_count = static_cast<Index>(modes.size());
  Tensor<Scalar> pooled = cx.zeros<Scalar>({count, checked_product(mode_count, hidden.cols())});
  for (Index i = 0; i < count; ++i) {
    const Index begin = segments[static_cast<std::size_t>(i)];
    const Index length = segments[static_cast<std::size_t>(i) + 1] - begin;
    if (length == 0) continue;
    const auto tokens = hidden.matrix().middleRows(begin, length);
    for (Index j = 0; j < mode_count; ++j) {
      auto map = pooled.matrix();
      auto out = map.row(i).segment(j * hidden.cols(), hidden.cols());
      switch (modes[static_cast<std::size_t>(j)]) {
        case PoolingMode::cls: out = tokens.row(0); break;
        case PoolingMode::max: out = tokens.colwise().maxCoeff(); break;
        case PoolingMode::mean: out = tokens.colwise().mean(); break;
        case PoolingMode::mean_sqrt_len_tokens:
          out = tokens.colwise().sum() / std::sqrt(static_cast<Scalar>(length));
          break;
        case PoolingMode::weightedmean: {
          const Weights weights = Weights::LinSpaced(length, 1, static_cast<Scalar>(length));
          out = (tokens.array().colwise() * weights).colwise().sum() / weights.sum();
          break;
        }
        case PoolingMode::lasttoken: out = tokens.row(length - 1); break;
      }
    }
  }
  return pooled;
}

}  // namespace eigenformer
