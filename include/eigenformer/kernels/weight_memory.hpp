// Memory for packed weights. They are read once in each pass: with small pages a tenth of the time
// and more goes into finding them. Weights that are packed one after the other lie side by side in
// chunks of huge pages, where the system has them; a chunk goes when the last of its weights goes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "eigenformer/base/large_memory.hpp"
#include "eigenformer/base/shape.hpp"

namespace eigenformer::kernels {

/// `words` 32-bit words, uninitialised, aligned to a cache line. Thread-safe; throws
/// std::bad_alloc.
[[nodiscard]] inline std::shared_ptr<std::uint32_t> weight_memory(Index words) {
  constexpr std::size_t usual_size = 32 * huge_page;  // what is not used is not resident
  struct Chunk {
    explicit Chunk(std::size_t bytes)
        : size(bytes), data(static_cast<std::byte*>(allocate_large(bytes))) {}
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;
    ~Chunk() { std::free(data); }
    std::size_t size;
    std::size_t used = 0;
    std::byte* data;
  };
  static std::mutex mutex;
  static std::weak_ptr<Chunk> latest;
  const auto bytes = static_cast<std::size_t>(checked_product(words + 16, 4)) / 64 * 64;
  const std::lock_guard lock(mutex);
  std::shared_ptr<Chunk> chunk = latest.lock();
  if (chunk == nullptr || chunk->size - chunk->used < bytes) {
    const std::size_t whole_pages = (bytes + huge_page - 1) / huge_page * huge_page;
    chunk = std::make_shared<Chunk>(std::max(usual_size, whole_pages));
    latest = chunk;
  }
  auto* const data = reinterpret_cast<std::uint32_t*>(chunk->data + chunk->used);
  chunk->used += bytes;
  return {std::move(chunk), data};
}

}  // namespace eigenformer::kernels
