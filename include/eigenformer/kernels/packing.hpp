// Packing: operands in the order in which the float tile kernel reads them, so that it reads one
// stream each. A right-hand side [k, n] becomes panels of tile_columns columns, [k][tile_columns]
// each; a left-hand side [m, k] blocks of tile_rows rows, [k][tile_rows] each; both padded with 0.
#pragma once

#include <algorithm>
#include <type_traits>

#include "eigenformer/kernels/isa/float_kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/scratch.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

namespace detail {

/// An operand as the kernel sees it: vectors of length k, `across` apart.
struct Strided {
  const float* data;
  Index count;  ///< rows of the left, or columns of the right operand
  Index k;
  Index across;  ///< elements from one vector to the next
  Index along;   ///< elements from one k to the next
};

/// Packs vectors first .. first + width as [k][width], zeros where there are no more.
inline void pack_strip(const Strided& from, Index first, Index width, float* out) noexcept {
  const Index there = std::min(width, from.count - first);
  const float* begin = from.data + first * from.across;
  for (Index p = 0; p < from.k; ++p) {
    const float* source = begin + p * from.along;
    if (from.across == 1) {
      std::copy_n(source, there, out);
    } else {
      for (Index i = 0; i < there; ++i) out[i] = source[i * from.across];
    }
    std::fill(out + there, out + width, 0.0f);
    out += width;
  }
}

[[nodiscard]] constexpr Index divided_up(Index n, Index by) noexcept { return (n + by - 1) / by; }

[[nodiscard]] constexpr Index packed_size(const Strided& from, Index width) noexcept {
  return divided_up(from.count, width) * width * from.k;
}

/// Packs strips `begin` to `end` of `width` vectors each to their places in `out`.
inline void pack_strips(const Strided& from, Index width, Index begin, Index end,
                        float* out) noexcept {
  for (Index strip = begin; strip < end; ++strip) {
    pack_strip(from, strip * width, width, out + strip * width * from.k);
  }
}

}  // namespace detail

/// Whether linear() gains from weights that were packed beforehand.
template <class Scalar>
inline constexpr bool uses_packed_weights = std::is_same_v<Scalar, float>;

/// The weights `[out, in]` of a linear layer as packed panels; for other scalars than float
/// nothing, since their products are Eigen's.
template <class Scalar>
struct PackedWeight {
  PackedWeight(ThreadPool&, MatrixView<const Scalar>) {}
};
template <>
class PackedWeight<float> {
 public:
  PackedWeight(ThreadPool& pool, MatrixView<const float> weight) {
    const detail::Strided from{weight.data, weight.rows, weight.cols, weight.stride, 1};
    const Index width = float_kernels().tile_columns;
    float* out = panels_.at_least(detail::packed_size(from, width));
    parallel_for(pool, detail::divided_up(weight.rows, width), 16, [&](Index begin, Index end) {
      detail::pack_strips(from, width, begin, end, out);
    });
  }
  [[nodiscard]] const float* panels() const noexcept { return panels_.data(); }

 private:
  AlignedBuffer<float> panels_;
};

}  // namespace eigenformer::kernels
