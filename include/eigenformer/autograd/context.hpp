// Context: everything that an operation needs and that is not its input. Nothing is global: two
// workers are two contexts over one const model.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "eigenformer/base/precision.hpp"
#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/dropout.hpp"
#include "eigenformer/kernels/isa/isa.hpp"
#include "eigenformer/tensor/tensor.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer {

class TapeBase;

/// The source of dropout patterns: every dropout layer that runs takes the next stream.
class DropoutGenerator {
 public:
  /// Two generators of one seed give the same patterns in the same order.
  explicit DropoutGenerator(std::uint64_t seed) : rng_(seed) {}

  /// The next layer's pattern.
  [[nodiscard]] kernels::DropoutPattern next(double probability) noexcept {
    return {rng_, stream_++, probability};
  }

 private:
  Rng rng_;
  std::uint64_t stream_ = 0;
};

/// Threads, memory, and the two optional observers of a computation. Used by one thread at a time.
class Context {
 public:
  /// A pool of `threads` threads, the caller's included. Throws ConfigError when EIGENFORMER_ISA
  /// names an instruction set that the machine does not have.
  explicit Context(int threads = available_cores())
      : Context(std::make_shared<ThreadPool>(threads), MemoryPool()) {}
  /// Shares a thread pool and a memory pool with other contexts. Throws as above.
  Context(std::shared_ptr<ThreadPool> threads, MemoryPool memory)
      : threads_(std::move(threads)), memory_(std::move(memory)) {
    (void)active_isa();
  }

  TapeBase* tape = nullptr;             ///< records operations for gradients; null: inference
  DropoutGenerator* dropout = nullptr;  ///< null: nothing is dropped
  /// Arithmetic of linear layers whose weights are not packed, for float alone: bf16 rounds what
  /// they multiply, forward and backward, and sums up in float; backward passes read such inputs,
  /// and attention's, as they are kept in bf16. (Micikevicius et al., arXiv:1710.03740; mirrors
  /// torch.autocast)
  Precision products = Precision::full;

  /// The thread pool that operations run on.
  [[nodiscard]] ThreadPool& threads() const noexcept { return *threads_; }
  /// The same, for another context to share.
  [[nodiscard]] const std::shared_ptr<ThreadPool>& shared_threads() const noexcept {
    return threads_;
  }
  /// The memory that results are taken from; a copy of it is a handle to the same.
  [[nodiscard]] MemoryPool& memory() noexcept { return memory_; }

  /// Uninitialised numbers from the memory pool.
  template <class Scalar>
  [[nodiscard]] Tensor<Scalar> empty(const Shape& shape) {
    return Tensor<Scalar>(memory_, shape, /*closely=*/tape != nullptr);
  }
  /// Zeros from the memory pool.
  template <class Scalar>
  [[nodiscard]] Tensor<Scalar> zeros(const Shape& shape) {
    Tensor<Scalar> result(memory_, shape);
    result.fill(Scalar(0));
    return result;
  }

 private:
  std::shared_ptr<ThreadPool> threads_;
  MemoryPool memory_;
};

}  // namespace eigenformer
