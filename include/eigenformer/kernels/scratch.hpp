// Scratch memory of kernels: one buffer for each thread and use, which only grows, so that nothing
// is allocated once the largest sizes have been seen.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <utility>

#include "eigenformer/base/large_memory.hpp"
#include "eigenformer/base/shape.hpp"

namespace eigenformer::kernels {

namespace detail {

/// Uninitialised numbers, aligned to a cache line at least.
template <class Scalar>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer() { std::free(data_); }

  /// Room for `size` numbers; what was there is lost when it grows.
  [[nodiscard]] Scalar* at_least(Index size) {
    if (size > size_) {
      std::free(std::exchange(data_, nullptr));
      size_ = 0;
      const auto bytes = static_cast<std::size_t>(checked_product(size, sizeof(Scalar)));
      data_ = static_cast<Scalar*>(allocate_large(bytes));
      size_ = size;
    }
    return data_;
  }
  /// What at_least() returned last, or null.
  [[nodiscard]] const Scalar* data() const noexcept { return data_; }

 private:
  Scalar* data_ = nullptr;
  Index size_ = 0;
};

/// What the calling thread's buffers are for; one use at a time each.
enum class Scratch { left, right, rows, scaled_row, row_scale, queries, keys, values, scores };

template <class Scalar, Scratch use>
[[nodiscard]] Scalar* scratch(Index size) {
  thread_local AlignedBuffer<Scalar> buffer;
  return buffer.at_least(size);
}

}  // namespace detail
}  // namespace eigenformer::kernels
