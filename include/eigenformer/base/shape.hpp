// Shape: the sizes of a tensor, stored inline, so that making one never allocates.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// Sizes, strides and positions (the same type as Eigen's index).
using Index = std::ptrdiff_t;

/// Product of two sizes; throws ShapeError where it does not fit into `Index`.
[[nodiscard]] inline Index checked_product(Index a, Index b) {
  Index product = 0;
  check<ShapeError>(!__builtin_mul_overflow(a, b, &product), "size overflow: ", a, " times ", b);
  return product;
}

/// The sizes of a tensor of rank 0 (one number) to 8.
class Shape {
 public:
  static constexpr int max_rank = 8;  ///< axes that a shape can have

  /// Rank 0: the shape of one number.
  Shape() = default;
  /// The same as from a span.
  Shape(std::initializer_list<Index> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  /// Throws ShapeError for more than 8 axes or a negative size.
  explicit Shape(std::span<const Index> sizes) {
    check<ShapeError>(sizes.size() <= max_rank, "a shape has at most 8 axes, not ", sizes.size());
    for (const Index size : sizes) append(size);
  }

  /// How many axes there are.
  [[nodiscard]] int rank() const noexcept { return rank_; }

  /// The size of one axis; negative axes count from the last one.
  [[nodiscard]] Index operator[](int axis) const {
    return sizes_[static_cast<std::size_t>(normalize_axis(axis))];
  }

  /// `axis` with negative values counted from the last; throws ShapeError outside the rank.
  [[nodiscard]] int normalize_axis(int axis) const {
    const int positive = axis < 0 ? axis + rank_ : axis;
    check<ShapeError>(positive >= 0 && positive < rank_, "axis ", axis, " is outside shape ",
                      *this);
    return positive;
  }

  /// How many numbers a tensor of this shape holds: 1 for rank 0.
  [[nodiscard]] Index numel() const {
    Index product = 1;
    for (const Index size : *this) product = checked_product(product, size);
    return product;
  }

  /// A shape with one more axis at the end.
  void append(Index size) {
    check<ShapeError>(rank_ < max_rank, "a shape has at most 8 axes");
    check<ShapeError>(size >= 0, "a size cannot be negative: ", size);
    sizes_[static_cast<std::size_t>(rank_++)] = size;
  }

  /// The same shape with axis `axis` of size `size`.
  [[nodiscard]] Shape with(int axis, Index size) const {
    check<ShapeError>(size >= 0, "a size cannot be negative: ", size);
    Shape changed = *this;
    changed.sizes_[static_cast<std::size_t>(normalize_axis(axis))] = size;
    return changed;
  }

  /// The sizes in order, first to last axis.
  [[nodiscard]] const Index* begin() const noexcept { return sizes_.data(); }
  /// One past the last size.
  [[nodiscard]] const Index* end() const noexcept { return sizes_.data() + rank_; }

  /// Written as `[37, 768]`.
  [[nodiscard]] std::string to_string() const {
    std::string out = "[";
    for (const Index size : *this) out += (out.size() > 1 ? ", " : "") + std::to_string(size);
    return out + "]";
  }

  /// Equal in rank and in every size.
  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (int axis = 0; axis < a.rank_; ++axis) {
      if (a.begin()[axis] != b.begin()[axis]) return false;
    }
    return true;
  }

 private:
  std::array<Index, max_rank> sizes_{};
  int rank_ = 0;
};

}  // namespace eigenformer
