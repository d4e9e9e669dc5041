// The float kernels of every instruction set, and the table of those in use. Users compile for the
// baseline: each set is compiled in a target region of its own, and chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eigenformer/base/shape.hpp"
#include "eigenformer/kernels/isa/isa.hpp"

namespace eigenformer::kernels {

/// One instruction set's kernels; their comments are in float_kernels.inl.hpp.
struct FloatKernels {
  Index tile_rows;
  Index tile_columns;
  void (*gemm_tile)(Index k, const float* a, const float* b, float* c, Index stride, Index rows,
                    Index columns, const float* bias, bool accumulate, const float* next,
                    Index next_step) noexcept;
  void (*gelu)(const float* x, float* y, Index n) noexcept;
  void (*gelu_tanh)(const float* x, float* y, Index n) noexcept;
  void (*silu)(const float* x, float* y, Index n) noexcept;
  void (*relu)(const float* x, float* y, Index n) noexcept;
  float (*softmax_row)(const float* x, float* y, Index n, float* top) noexcept;
  float (*norm_row)(const float* x, const float* gamma, const float* beta, float eps, float* y,
                    Index n) noexcept;
};

#if defined(__clang__)
#define EIGENFORMER_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EIGENFORMER_UNROLL _Pragma("GCC unroll 16")
#endif

namespace scalar {
#define EIGENFORMER_VECTOR_BYTES 16
#define EIGENFORMER_TILE_ROWS 6
#define EIGENFORMER_TILE_VECTORS 2
#include "eigenformer/kernels/isa/float_kernels.inl.hpp"
#undef EIGENFORMER_VECTOR_BYTES
#undef EIGENFORMER_TILE_ROWS
#undef EIGENFORMER_TILE_VECTORS
}  // namespace scalar

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define EIGENFORMER_VECTOR_BYTES 32
#define EIGENFORMER_TILE_ROWS 6
#define EIGENFORMER_TILE_VECTORS 2
#include "eigenformer/kernels/isa/float_kernels.inl.hpp"
#undef EIGENFORMER_VECTOR_BYTES
#undef EIGENFORMER_TILE_ROWS
#undef EIGENFORMER_TILE_VECTORS
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif
namespace avx512 {
#define EIGENFORMER_VECTOR_BYTES 64
#define EIGENFORMER_TILE_ROWS 8
#define EIGENFORMER_TILE_VECTORS 3
#include "eigenformer/kernels/isa/float_kernels.inl.hpp"
#undef EIGENFORMER_VECTOR_BYTES
#undef EIGENFORMER_TILE_ROWS
#undef EIGENFORMER_TILE_VECTORS
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__

#undef EIGENFORMER_UNROLL

/// The kernels of one instruction set.
[[nodiscard]] inline const FloatKernels& float_kernels(Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::table;
  if (isa == Isa::avx2) return avx2::table;
#endif
  (void)isa;
  return scalar::table;
}

/// The kernels in use.
[[nodiscard]] inline const FloatKernels& float_kernels() {
  static const FloatKernels& kernels = float_kernels(active_isa());
  return kernels;
}

}  // namespace eigenformer::kernels
