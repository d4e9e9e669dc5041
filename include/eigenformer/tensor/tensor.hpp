// Tensor: a value handle to numbers in row-major order. Copies and views share the storage, which
// lives as long as any of them. Element-wise algebra is Eigen's: matrix(), array() and vector()
// are maps of the tensor, and a tensor is made from any Eigen expression.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include <Eigen/Core>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/tensor/memory_pool.hpp"

namespace eigenformer {

template <class Scalar>
class Tape;
template <class Scalar>
class Gradients;

/// Where a tensor stands on a tape, if it does.
struct TapePosition {
  static constexpr std::int32_t untracked = -1;  ///< no node: a constant
  static constexpr std::int32_t severed = -2;    ///< a view taken behind the tape's back

  std::uint32_t tape = 0;         ///< serial number of the tape; 0: none
  std::int32_t node = untracked;  ///< number of the node that made it
};

/// Numbers with a shape of rank 0 to 8. The last axis is always contiguous; views may have gaps
/// between rows. A default-constructed tensor is empty: `defined()` is false.
template <class Scalar>
class Tensor {
 public:
  /// What matrix() maps: row-major.
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  /// What array() maps: row-major.
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  /// What vector() maps.
  using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
  /// A map of `Plain` whose rows may have gaps between them.
  template <class Plain>
  using Map = Eigen::Map<Plain, Eigen::Unaligned, Eigen::OuterStride<>>;

  /// No numbers: undefined.
  Tensor() = default;
  /// Shares the storage, and the place on the tape.
  Tensor(const Tensor&) = default;
  /// Shares the storage, and the place on the tape.
  Tensor& operator=(const Tensor&) = default;
  /// The source is empty afterwards.
  Tensor(Tensor&& other) noexcept
      : storage_(std::move(other.storage_)),
        data_(std::exchange(other.data_, nullptr)),
        shape_(std::exchange(other.shape_, {})),
        strides_(other.strides_),
        position_(std::exchange(other.position_, {})) {}
  /// The source is empty afterwards, unless it is this tensor.
  Tensor& operator=(Tensor&& other) noexcept {
    Tensor source(std::move(other));  // other may be this very tensor
    std::swap(storage_, source.storage_);
    std::swap(data_, source.data_);
    std::swap(shape_, source.shape_);
    std::swap(strides_, source.strides_);
    std::swap(position_, source.position_);
    return *this;
  }

  /// Uninitialised numbers in memory of their own.
  explicit Tensor(const Shape& shape) : Tensor(detail::Storage::owned(bytes_of(shape)), shape) {}

  /// Uninitialised numbers from a pool, which gets them back; `closely` as in
  /// MemoryPool::allocate.
  Tensor(MemoryPool& pool, const Shape& shape, bool closely = false)
      : Tensor(pool.allocate(bytes_of(shape), closely), shape) {}

  /// The values of an Eigen expression: `[n]` for vectors known as such at compile time, else
  /// `[rows, cols]`.
  template <class Derived>
  requires std::same_as<typename Derived::Scalar, Scalar> Tensor(
      const Eigen::DenseBase<Derived>& expression)  // NOLINT: mixes freely with Eigen
      : Tensor(shape_of(expression)) {
    if constexpr (std::is_base_of_v<Eigen::ArrayBase<Derived>, Derived>) {
      Eigen::Map<Array>(data_, expression.rows(), expression.cols()) = expression.derived();
    } else {
      Eigen::Map<Matrix>(data_, expression.rows(), expression.cols()) = expression.derived();
    }
  }

  /// `value` everywhere.
  [[nodiscard]] static Tensor full(const Shape& shape, Scalar value) {
    Tensor result(shape);
    result.fill(value);
    return result;
  }
  /// 0 everywhere.
  [[nodiscard]] static Tensor zeros(const Shape& shape) { return full(shape, Scalar(0)); }

  /// Numbers that somebody else owns, such as a mapped file, kept alive by `owner`.
  [[nodiscard]] static Tensor foreign(const Scalar* data, const Shape& shape,
                                      std::shared_ptr<const void> owner) {
    return Tensor(detail::Storage::foreign(data, std::move(owner)), shape);
  }

  /// Whether there is storage; also true of a shape without numbers, such as `[0, 768]`.
  [[nodiscard]] bool defined() const noexcept { return data_ != nullptr; }
  /// All sizes; rank 0 for an undefined tensor.
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  /// How many axes there are, 0 to 8.
  [[nodiscard]] int rank() const noexcept { return shape_.rank(); }
  /// The size of one axis; negative axes count from the last one. Throws ShapeError outside the
  /// rank.
  [[nodiscard]] Index size(int axis) const { return shape_[axis]; }
  /// How many numbers there are.
  [[nodiscard]] Index numel() const { return shape_.numel(); }
  /// The first number. The others follow it without gaps where contiguous() is true.
  [[nodiscard]] Scalar* data() noexcept { return data_; }
  /// The same for reading.
  [[nodiscard]] const Scalar* data() const noexcept { return data_; }

  /// Size of the last axis: the columns of matrix().
  [[nodiscard]] Index cols() const noexcept { return rank() == 0 ? 1 : shape_.end()[-1]; }
  /// All axes but the last, multiplied: the rows of matrix().
  [[nodiscard]] Index row_count() const {
    Index rows = 1;
    for (int axis = 0; axis + 1 < rank(); ++axis) rows *= shape_[axis];
    return rows;
  }

  /// Whether the numbers lie side by side; so they do where there are none.
  [[nodiscard]] bool contiguous() const {
    if (numel() == 0) return true;
    Index step = 1;
    for (int axis = rank() - 1; axis >= 0; --axis) {
      if (shape_[axis] != 1 && stride(axis) != step) return false;
      step *= shape_[axis];
    }
    return true;
  }

  /// The number at the given position; throws ShapeError outside the shape.
  template <std::integral... Positions>
  [[nodiscard]] const Scalar& operator()(Positions... positions) const {
    return data_[offset_of({static_cast<Index>(positions)...})];
  }
  /// The same for writing.
  template <std::integral... Positions>
  [[nodiscard]] Scalar& operator()(Positions... positions) {
    return data_[offset_of({static_cast<Index>(positions)...})];
  }

  /// The number of a tensor that holds just one.
  [[nodiscard]] Scalar item() const {
    check<ShapeError>(numel() == 1, "item() of a tensor of shape ", shape_,
                      ", which does not hold exactly one number");
    return *data_;
  }

  /// `[row_count(), cols()]` as kernels take it; throws ShapeError where the rows of a view are
  /// not evenly spaced.
  [[nodiscard]] MatrixView<Scalar> view() { return {data_, row_count(), cols(), row_stride()}; }
  /// The same for reading.
  [[nodiscard]] MatrixView<const Scalar> view() const {
    return {data_, row_count(), cols(), row_stride()};
  }

  /// An Eigen matrix `[row_count(), cols()]` that shares the storage; rank 1 is one row.
  [[nodiscard]] Map<Matrix> matrix() { return map<Map<Matrix>>(data_); }
  /// The same for reading.
  [[nodiscard]] Map<const Matrix> matrix() const { return map<Map<const Matrix>>(data_); }
  /// The same as an array, for element-wise algebra.
  [[nodiscard]] Map<Array> array() { return map<Map<Array>>(data_); }
  /// The same for reading.
  [[nodiscard]] Map<const Array> array() const { return map<Map<const Array>>(data_); }
  /// All numbers as one column; throws ShapeError for a view with gaps.
  [[nodiscard]] Eigen::Map<Vector> vector() {
    require_contiguous("vector()");
    return {data_, numel()};
  }
  /// The same for reading.
  [[nodiscard]] Eigen::Map<const Vector> vector() const {
    require_contiguous("vector()");
    return {data_, numel()};
  }

  /// The same numbers under another shape, one size of which may be -1: whatever remains.
  [[nodiscard]] Tensor reshape(std::initializer_list<Index> sizes) const {
    Shape known;
    int open = -1;
    for (const Index size : sizes) {
      check<ShapeError>(size != -1 || open < 0, "reshape: only one size can be -1");
      if (size == -1) open = known.rank();
      known.append(size == -1 ? 1 : size);
    }
    if (open >= 0) {
      const Index rest = known.numel();
      check<ShapeError>(rest > 0 && numel() % rest == 0, "reshape: ", shape_,
                        " does not divide into ", known);
      known = known.with(open, numel() / rest);
    }
    return reshape(known);
  }
  /// The same for a shape that is known whole. Throws ShapeError for another number of elements, or
  /// a view with gaps.
  [[nodiscard]] Tensor reshape(const Shape& shape) const {
    check<ShapeError>(shape.numel() == numel(), "reshape: ", shape_, " holds ", numel(),
                      " numbers but ", shape, " asks for ", shape.numel());
    require_contiguous("reshape");
    Tensor result = *this;
    result.shape_ = shape;
    result.strides_ = contiguous_strides(shape);
    result.sever();
    return result;
  }

  /// A view of positions `begin` to `end` (excluded) along `axis`.
  [[nodiscard]] Tensor slice(int axis, Index begin, Index end) const {
    axis = shape_.normalize_axis(axis);
    check<ShapeError>(0 <= begin && begin <= end && end <= shape_[axis], "slice: ", begin, " to ",
                      end, " is outside axis ", axis, " of ", shape_);
    Tensor result = *this;
    result.shape_ = shape_.with(axis, end - begin);
    result.data_ += begin * stride(axis);
    result.sever();
    return result;
  }
  /// A view of rows along the first axis.
  [[nodiscard]] Tensor rows(Index begin, Index end) const { return slice(0, begin, end); }
  /// The same for a range, such as Batch::segment.
  [[nodiscard]] Tensor rows(RowRange range) const { return rows(range.begin, range.end); }

  /// A copy in memory of its own, without gaps.
  [[nodiscard]] Tensor clone() const {
    Tensor result(shape_);
    result.copy_from(*this);
    return result;
  }

  /// The same numbers, no longer tracked by a tape: a constant.
  [[nodiscard]] Tensor detach() const {
    Tensor result = *this;
    result.position_ = {};
    return result;
  }

  /// Its shape and place on the tape, without the numbers: what a backward pass keeps of an input
  /// that it does not read.
  [[nodiscard]] Tensor place() const {
    Tensor result;
    result.shape_ = shape_;
    result.position_ = position_;
    return result;
  }

  /// Overwrites the numbers in place, in every handle that shares them.
  void fill(Scalar value) {
    if (contiguous())
      std::fill_n(data_, numel(), value);
    else
      array().setConstant(value);
  }
  /// Copies the numbers of a tensor of the same shape.
  void copy_from(const Tensor& source) {
    check<ShapeError>(shape_ == source.shape_, "copy: the shapes ", shape_, " and ", source.shape_,
                      " differ");
    if (contiguous() && source.contiguous())
      std::copy_n(source.data_, numel(), data_);
    else
      matrix() = source.matrix();
  }

  /// Where it stands on a tape.
  [[nodiscard]] TapePosition position() const noexcept { return position_; }

 private:
  friend class Tape<Scalar>;
  friend class Gradients<Scalar>;

  Tensor(detail::Storage storage, const Shape& shape)
      : storage_(std::move(storage)),
        data_(static_cast<Scalar*>(storage_.data())),
        shape_(shape),
        strides_(contiguous_strides(shape)) {}

  static std::size_t bytes_of(const Shape& shape) {
    return static_cast<std::size_t>(checked_product(shape.numel(), sizeof(Scalar)));
  }

  template <class Derived>
  static Shape shape_of(const Eigen::DenseBase<Derived>& expression) {
    if constexpr (Derived::IsVectorAtCompileTime)
      return {expression.size()};
    else
      return {expression.rows(), expression.cols()};
  }

  static std::array<Index, Shape::max_rank> contiguous_strides(const Shape& shape) {
    std::array<Index, Shape::max_rank> strides{};
    Index step = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      strides[static_cast<std::size_t>(axis)] = step;
      step *= shape[axis];
    }
    return strides;
  }

  [[nodiscard]] Index stride(int axis) const noexcept {
    return strides_[static_cast<std::size_t>(axis)];
  }

  [[nodiscard]] Index row_stride() const {
    int last = rank() - 2;  // the innermost axis of more than one row sets the spacing
    while (last >= 0 && shape_[last] == 1) --last;
    if (last < 0 || numel() == 0) return cols();
    Index expected = stride(last);
    for (int axis = last; axis >= 0; --axis) {
      check<ShapeError>(shape_[axis] == 1 || stride(axis) == expected, "a view of shape ", shape_,
                        " has unevenly spaced rows; clone() it first");
      expected *= shape_[axis];
    }
    return stride(last);
  }

  template <class EigenMap, class Pointer>
  [[nodiscard]] EigenMap map(Pointer data) const {
    return EigenMap(data, row_count(), cols(), Eigen::OuterStride<>(row_stride()));
  }

  void require_contiguous(const char* what) const {
    check<ShapeError>(contiguous(), what, ": a view of shape ", shape_,
                      " has gaps; clone() it first");
  }

  [[nodiscard]] Index offset_of(std::initializer_list<Index> positions) const {
    check<ShapeError>(static_cast<int>(positions.size()) == rank(), "a tensor of shape ", shape_,
                      " is read at ", positions.size(), " positions");
    Index offset = 0;
    int axis = 0;
    for (const Index position : positions) {
      check<ShapeError>(position >= 0 && position < shape_[axis], "position ", position,
                        " is outside axis ", axis, " of ", shape_);
      offset += position * stride(axis++);
    }
    return offset;
  }

  void sever() noexcept {
    if (position_.tape != 0) position_.node = TapePosition::severed;
  }

  detail::Storage storage_;
  Scalar* data_ = nullptr;
  Shape shape_;
  std::array<Index, Shape::max_rank> strides_{};
  TapePosition position_;
};

}  // namespace eigenformer
