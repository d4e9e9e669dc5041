// Storage of tensors: reference-counted blocks, aligned to 64 bytes. A pool keeps the blocks that
// it gets back in lists by size class, so that a computation that was done once allocates nothing,
// nor does the same computation on smaller shapes.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/large_memory.hpp"

namespace eigenformer {

namespace detail {

struct PoolState;

/// The header of a piece of memory; the data follow it, or belong to `keep_alive`.
struct alignas(64) Block {
  std::atomic<long> references{1};
  std::size_t capacity = 0;  ///< bytes
  void* data = nullptr;
  Block* next_free = nullptr;
  std::shared_ptr<PoolState> pool;         ///< null: freed when released
  std::shared_ptr<const void> keep_alive;  ///< owner of foreign memory, such as a mapped file

  static Block* allocate(std::size_t bytes) {
    void* memory = allocate_large(sizeof(Block) + bytes);
    auto* block = new (memory) Block;
    block->capacity = bytes;
    block->data = static_cast<std::byte*>(memory) + sizeof(Block);
    return block;
  }
  static void free(Block* block) noexcept {
    block->~Block();
    std::free(block);
  }
};

/// Free blocks by size class: powers of two in four steps each, so at most a fifth lies idle.
struct PoolState {
  static constexpr int classes = 4 * 60;
  std::mutex mutex;
  std::array<Block*, classes> free{};

  PoolState() = default;
  PoolState(const PoolState&) = delete;
  PoolState& operator=(const PoolState&) = delete;
  ~PoolState() { trim(); }

  void trim() noexcept {
    const std::lock_guard lock(mutex);
    for (Block*& list : free) {
      while (list != nullptr) Block::free(std::exchange(list, list->next_free));
    }
  }

  static int class_of(std::size_t bytes) noexcept {
    const std::size_t units = bytes < 256 ? 4 : (bytes + 63) / 64;
    const int power = static_cast<int>(std::bit_width(units)) - 1;
    const auto steps = static_cast<int>(((units << 2) + (std::size_t{1} << power) - 1) >> power);
    return 4 * (power - 2) + steps - 4;  // steps: 4 to 8 quarters of 2^power, rounded up
  }
  static std::size_t class_bytes(int size_class) noexcept {
    const int power = size_class / 4 + 2;
    return (static_cast<std::size_t>(size_class % 4 + 4) << power >> 2) * 64;
  }
};

inline void release(Block* block) noexcept {
  if (block->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::shared_ptr<PoolState> pool = std::move(block->pool);
  if (pool == nullptr) return Block::free(block);
  const std::lock_guard lock(pool->mutex);
  Block*& list = pool->free[static_cast<std::size_t>(PoolState::class_of(block->capacity))];
  block->next_free = list;
  list = block;
}

/// Shared ownership of a block.
class Storage {
 public:
  Storage() = default;
  explicit Storage(Block* block) noexcept : block_(block) {}
  Storage(const Storage& other) noexcept : block_(other.block_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Storage() {
    if (block_ != nullptr) release(block_);
  }
  [[nodiscard]] void* data() const noexcept { return block_ == nullptr ? nullptr : block_->data; }

  /// Whether nothing else shares the block.
  [[nodiscard]] bool unique() const noexcept {
    return block_ != nullptr && block_->references.load(std::memory_order_acquire) == 1;
  }

  /// Memory that is freed when the last owner goes.
  static Storage owned(std::size_t bytes) { return Storage(Block::allocate(bytes)); }

  /// Foreign memory, which `keep_alive` owns.
  static Storage foreign(const void* data, std::shared_ptr<const void> keep_alive) {
    Block* block = Block::allocate(0);
    block->data = const_cast<void*>(data);
    block->keep_alive = std::move(keep_alive);
    return Storage(block);
  }

 private:
  Block* block_ = nullptr;
};

}  // namespace detail

/// A handle to a pool of blocks; copies share it. Thread-safe. Tensors may outlive it.
class MemoryPool {
 public:
  /// An empty pool.
  MemoryPool() : state_(std::make_shared<detail::PoolState>()) {}

  /// A block of at least `bytes` bytes, uninitialised; `closely`: at most a quarter more, for
  /// numbers that are kept while others are asked for.
  [[nodiscard]] detail::Storage allocate(std::size_t bytes, bool closely = false) {
    const int size_class = detail::PoolState::class_of(bytes);
    constexpr int all = detail::PoolState::classes;
    check<Error>(size_class < all, "cannot allocate ", bytes, " bytes");
    const auto end = static_cast<std::size_t>(closely ? size_class + 1 : all);
    detail::Block* block = nullptr;
    {
      const std::lock_guard lock(state_->mutex);
      // The smallest free block that is large enough: who has seen its largest shape has blocks for
      // all smaller ones.
      for (auto at = static_cast<std::size_t>(size_class); at < end; ++at) {
        detail::Block*& list = state_->free[at];
        if (list == nullptr) continue;
        block = std::exchange(list, list->next_free);
        break;
      }
    }
    if (block == nullptr) {
      block = detail::Block::allocate(detail::PoolState::class_bytes(size_class));
    }
    block->references.store(1, std::memory_order_relaxed);
    block->pool = state_;
    return detail::Storage(block);
  }

  /// Returns the memory of all free blocks to the system.
  void trim() noexcept { state_->trim(); }

 private:
  std::shared_ptr<detail::PoolState> state_;
};

}  // namespace eigenformer
