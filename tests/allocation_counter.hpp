// Counts what a test program takes from the system, by operator new or by malloc. To be included by
// one source of a program alone: it replaces the C library's functions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define EIGENFORMER_COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EIGENFORMER_COUNTS 0
#else
#define EIGENFORMER_COUNTS 1
#endif
#else
#define EIGENFORMER_COUNTS 1
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0};
std::atomic<std::size_t> allocated_bytes{0};

[[maybe_unused]] void count_allocation(std::size_t size) {
  if (!counting) return;
  ++allocations;
  allocated_bytes += size;
}
}  // namespace

#if EIGENFORMER_COUNTS
// The C library's functions under its own names for them; operator new calls the first.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  count_allocation(size);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  count_allocation(count * size);
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  count_allocation(size);
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count_allocation(size);
  return __libc_memalign(alignment, size);
}
}
#endif
