// Large pieces of memory. In huge pages, where the system has them, a page is made once for 512
// small ones, and found in less time when all of the memory is read again and again.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <new>

namespace eigenformer {

/// Bytes of a huge page on x86-64, and of most on AArch64.
inline constexpr std::size_t huge_page = std::size_t{1} << 21;

/// `bytes` bytes, uninitialised, aligned to 64 bytes or, where they fill one, to a huge page. For
/// std::free. Throws std::bad_alloc.
[[nodiscard]] inline void* allocate_large(std::size_t bytes) {
  const std::size_t alignment = bytes < huge_page ? 64 : huge_page;
  void* const memory =
      std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  // Whole ones alone: none takes memory beyond what was asked for.
  if (alignment == huge_page) ::madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace eigenformer
