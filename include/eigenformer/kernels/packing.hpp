// Packing: operands in the order in which the float tile kernel reads them, so that it reads one
// stream each. A right-hand side [k, n] becomes panels of tile_columns columns, [k][tile_columns]
// each; a left-hand side [m, k] blocks of tile_rows rows, [k][tile_rows] each; both padded with 0.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#include "eigenformer/kernels/isa/float_kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

/// Floats aligned to a cache line, uninitialised, which only grow.
class FloatBuffer {
 public:
  FloatBuffer() = default;
  explicit FloatBuffer(Index size) { (void)at_least(size); }
  FloatBuffer(FloatBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  FloatBuffer& operator=(FloatBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~FloatBuffer() { std::free(data_); }

  [[nodiscard]] float* at_least(Index size) {
    if (size > size_) {
      std::free(data_);
      size_ = 0;
      const auto bytes = static_cast<std::size_t>(checked_product(size, sizeof(float)));
      data_ = static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = size;
    }
    return data_;
  }
  [[nodiscard]] const float* data() const noexcept { return data_; }

 private:
  float* data_ = nullptr;
  Index size_ = 0;
};

namespace detail {

/// This thread's memory for packed operands, one buffer for each use.
enum class Scratch { left, right };
template <Scratch use>
[[nodiscard]] float* scratch(Index size) {
  thread_local FloatBuffer buffer;
  return buffer.at_least(size);
}

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
    const Index width = float_kernels().tile_columns;
    const Index panels = detail::divided_up(weight.rows, width);
    float* out = panels_.at_least(panels * width * weight.cols);
    const detail::Strided from{weight.data, weight.rows, weight.cols, weight.stride, 1};
    parallel_for(pool, panels, 16, [&](Index begin, Index end) {
      for (Index panel = begin; panel < end; ++panel) {
        detail::pack_strip(from, panel * width, width, out + panel * width * weight.cols);
      }
    });
  }
  [[nodiscard]] const float* panels() const noexcept { return panels_.data(); }

 private:
  FloatBuffer panels_;
};

}  // namespace eigenformer::kernels
