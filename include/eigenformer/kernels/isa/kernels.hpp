// The float kernels of every instruction set, and the table of those in use. Users compile for the
// baseline: each set is compiled in a target region of its own, and chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "eigenformer/base/precision.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/kernels/isa/isa.hpp"
#include "eigenformer/kernels/matrix_view.hpp"

#if defined(__FAST_MATH__)
#error "eigenformer: -ffast-math breaks its rounding and its checks for NaN; compile without it"
#endif

namespace eigenformer::kernels {

/// 32 bits of an operand: one float, two bfloat16 or four bytes.
using Word = std::uint32_t;

/// Columns of a right operand that are packed together.
inline constexpr Index panel_columns = 48;
/// What lies in memory comes nearer in so many streams at once: a single one leaves a part of the
/// memory's rate unused.
inline constexpr Index next_streams = 8;

/// One tile of a product of packed operands.
struct Tile {
  Index k = 0;                  ///< steps, of one word for each column
  const Word* left = nullptr;   ///< the left operand, from the tile's first row on
  Index left_step = 0;          ///< words from one step to the next
  const Word* right = nullptr;  ///< the right operand, from the tile's first column on
  Index right_step = 0;         ///< words from one step to the next
  float* c = nullptr;           ///< `[rows, columns]`, rows `stride` apart
  Index stride = 0;             ///< floats from one row of c to the next
  Index rows = 0;               ///< at most those of the Product
  Index columns = 0;            ///< at most those of the Product
  Index panel_step = 0;         ///< words from one panel to the next; for a row alone
  bool accumulate = false;      ///< c += instead of c =, without bias; not for bytes
  const float* bias = nullptr;  ///< `[columns]`, or null
  const Word* next = nullptr;   ///< memory that later tiles read, as `next_streams` parts,
  Index next_step = 0;          ///< of one of which each step brings so many words closer
  /// `[rows]` factors, or null; always there for bytes, never for floats from blocks.
  const float* row_scale = nullptr;
  const float* row_offset = nullptr;    ///< `[rows]`, bytes alone, as all that follow
  const float* column_scale = nullptr;  ///< `[columns]`, readable up to a whole vector
  const float* column_sum = nullptr;    ///< the same
};

/// How one arithmetic multiplies: `left_*` are the rows of the left operand as a tile takes them.
struct Product {
  Index rows;     ///< of the left operand in a strip
  Index columns;  ///< of the widest tile
  Index group;    ///< numbers in a word of the right operand
  Index planes;   ///< words of the left operand for each of them
  Index block;    ///< words of a row of the left operand that follow each other
  void (*tile)(const Tile& tile) noexcept;  ///< computes one tile
  /// The same for a row alone, whose words follow each other, and as many panels of `columns`, or
  /// a narrower one; null where tiles are as good.
  void (*row)(const Tile& tile) noexcept = nullptr;
  Index row_panels = 0;  ///< that `row` takes at once
};

/// Random numbers for dropout: 32 bits for each position, mixed from it and a key. The mixing is
/// that of a hash function, so that it is cheap in vectors. (lowbias32 by C. Wellons, with a key)
struct DropoutDraw {
  std::uint64_t key;        ///< of the layer's stream
  std::uint32_t threshold;  ///< what is below it is dropped

  static constexpr std::uint32_t multiplier1 = 0x21f0aaad;  ///< lowbias32's first
  static constexpr std::uint32_t multiplier2 = 0xd35a2d97;  ///< and its second

  /// A position becomes its number; Number is one number or a vector of them.
  template <class Number>
  [[gnu::always_inline]] constexpr void mix(Number& x) const noexcept {
    x ^= static_cast<std::uint32_t>(key);
    x = (x ^ (x >> 16)) * multiplier1;
    x = (x ^ (x >> 15) ^ static_cast<std::uint32_t>(key >> 32)) * multiplier2;
    x ^= x >> 15;
  }
  /// Whether the number at a position stays.
  [[nodiscard]] constexpr bool keeps(std::uint32_t position) const noexcept {
    mix(position);
    return position >= threshold;
  }
};

/// What one update of Adam multiplies with.
template <class Scalar>
struct AdamStep {
  Scalar gradient_scale = 1;     ///< the gradient is multiplied with it first
  Scalar beta1 = 0;              ///< how much of the gradient's moving mean stays
  Scalar beta2 = 0;              ///< how much of the moving mean of its square stays
  Scalar mean_correction = 1;    ///< 1 / (1 - beta1^t), or 1
  Scalar square_correction = 1;  ///< 1 / (1 - beta2^t), or 1
  Scalar eps = 0;                ///< added to the root of the corrected square
  Scalar rate = 0;               ///< how much of the direction is taken off
  Scalar keep = 1;               ///< what the number is multiplied with before: its decay
};

/// One instruction set's kernels. How exact they are, and what they read and write beyond what is
/// asked for, is said where they are defined: pack.inl.hpp, rows.inl.hpp and math.inl.hpp.
struct Kernels {
  Product float_product;      ///< of floats
  Product bf16_product;       ///< of weights in bfloat16
  Product int8_product;       ///< of weights in bytes
  Product attention_product;  ///< of attention in a reduced precision
  Index lanes;                ///< floats in a vector

  /// Transposes rows of words, at most 8: a column of `out` for each.
  void (*pack_words)(const Word* x, Index stride, Index rows, Index width, Index steps, Word* out,
                     Index step) noexcept;
  /// n numbers as bfloat16, two in a word.
  void (*bfloat16_row)(const float* x, Index n, Word* words) noexcept;
  /// The same back: n floats from words of two bfloat16, padded to 8.
  void (*float_row)(const Word* words, Index n, float* x) noexcept;
  /// Rows as steps of an operand, `width` words each, of one float.
  void (*float_rows)(const MatrixView<const float>& x, Word* words, Index width) noexcept;
  /// The same of two bfloat16, from two rows each.
  void (*pair_rows)(const MatrixView<const float>& x, Word* words, Index width) noexcept;
  /// A column of a right operand of bytes: scale, and sum of the bytes.
  void (*signed_byte_row)(const float* x, Index n, Word* words, float* scale, float* sum) noexcept;
  /// A row of bf16_product's left operand, in planes.
  void (*left_bfloat16_row)(const float* x, Index n, Word* words, Index plane) noexcept;
  /// A row of int8_product's left operand, in planes: x = offset + scale byte.
  void (*left_byte_row)(const float* x, Index n, Word* words, Index plane, float* scale,
                        float* offset) noexcept;

  /// product = x y
  void (*multiply)(const float* x, const float* y, float* product, Index n) noexcept;
  /// y = x with numbers dropped, the others times `scale`; `first` is the position of x[0].
  void (*dropout)(const float* x, float* y, Index n, DropoutDraw draw, std::uint32_t first,
                  float scale) noexcept;
  /// The update of Adam, as adamw.hpp explains it.
  void (*adam)(const AdamStep<float>& step, const float* gradient, float* mean, float* square,
               float* value, float* direction, Index n) noexcept;
  /// The sum of the squares of n numbers, in double.
  double (*sum_of_squares)(const float* x, Index n) noexcept;
  /// y = exp(x)
  void (*exp)(const float* x, float* y, Index n) noexcept;
  /// y = erf(x)
  void (*erf)(const float* x, float* y, Index n) noexcept;
  /// y = tanh(x)
  void (*tanh)(const float* x, float* y, Index n) noexcept;
  /// y = x Phi(x)
  void (*gelu)(const float* x, float* y, Index n) noexcept;
  /// y = x Phi(x) to the digits of bfloat16.
  void (*gelu_approx)(const float* x, float* y, Index n) noexcept;
  /// dx = (x Phi(x))' dy
  void (*gelu_backward)(const float* x, const float* dy, float* dx, Index n) noexcept;
  /// y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  void (*gelu_tanh)(const float* x, float* y, Index n) noexcept;
  /// The same to the digits of bfloat16.
  void (*gelu_tanh_approx)(const float* x, float* y, Index n) noexcept;
  /// y = x / (1 + exp(-x))
  void (*silu)(const float* x, float* y, Index n) noexcept;
  /// y = max(x, 0)
  void (*relu)(const float* x, float* y, Index n) noexcept;
  /// y = softmax(x); returns the sum of exp(x - max) and sets `top` to max.
  float (*softmax_row)(const float* x, float* y, Index n, float* top) noexcept;
  /// Softmax down columns of scores `[keys][step]`, not yet divided by its sums, as floats.
  void (*softmax_columns)(const float* scores, Index keys, Index columns, Index step, float scale,
                          Word* words, float* inverse_sums) noexcept;
  /// The same as words of two bfloat16.
  void (*softmax_columns_in_pairs)(const float* scores, Index keys, Index columns, Index step,
                                   float scale, Word* words, float* inverse_sums) noexcept;
  /// out[h, i] = x[h] row[i, h], of n numbers each; rows are `stride` apart.
  void (*dot_rows)(const float* x, const float* rows, Index stride, Index n,
                   MatrixView<float> out) noexcept;
  /// out[h] = sum over i of weights[h, i] row[i, h], of n numbers each; rows as above.
  void (*sum_rows)(MatrixView<const float> weights, const float* rows, Index stride, Index n,
                   float* out) noexcept;
  /// y = norm(x + residual) gamma + beta; returns 1 / sqrt(variance + eps).
  float (*norm_row)(const float* x, const float* residual, const float* gamma, const float* beta,
                    float eps, float* y, float* sum, Index n) noexcept;
  /// Its gradient: writes dx, adds to dgamma and dbeta.
  void (*norm_row_backward)(const float* x, const float* gamma, float scale, const float* dy,
                            float* dx, float* dgamma, float* dbeta, Index n) noexcept;

  /// How weights of that precision are multiplied.
  [[nodiscard]] constexpr const Product& product(Precision precision) const noexcept {
    return precision == Precision::bf16   ? bf16_product
           : precision == Precision::int8 ? int8_product
                                          : float_product;
  }
};

// A program of several files compiles the kernels in each of them, or once: where
// EIGENFORMER_SEPARATE_KERNELS is defined for all and EIGENFORMER_KERNELS_HERE for one.
#if defined(EIGENFORMER_SEPARATE_KERNELS)
#define EIGENFORMER_LINKAGE
#else
#define EIGENFORMER_LINKAGE inline
#define EIGENFORMER_KERNELS_HERE
#endif

/// The kernels of one instruction set.
[[nodiscard]] EIGENFORMER_LINKAGE const Kernels& kernels_of(Isa isa) noexcept;

#if defined(EIGENFORMER_KERNELS_HERE)

#if defined(__clang__)
#define EIGENFORMER_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EIGENFORMER_UNROLL _Pragma("GCC unroll 16")
#endif

namespace baseline {
#define EIGENFORMER_NATIVE_WORDS 0
#define EIGENFORMER_VECTOR_BYTES 16
#if defined(__x86_64__)
#define EIGENFORMER_TILE_ROWS 6
#define EIGENFORMER_TILE_VECTORS 2
#else
#define EIGENFORMER_TILE_ROWS 8
#define EIGENFORMER_TILE_VECTORS 3
#endif
#include "eigenformer/kernels/isa/table.inl.hpp"
}  // namespace baseline

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define EIGENFORMER_NATIVE_WORDS 0
#define EIGENFORMER_VECTOR_BYTES 32
#define EIGENFORMER_TILE_ROWS 6
#define EIGENFORMER_TILE_VECTORS 2
#include "eigenformer/kernels/isa/table.inl.hpp"
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
#define EIGENFORMER_NATIVE_WORDS 1
#define EIGENFORMER_VECTOR_BYTES 64
#define EIGENFORMER_TILE_ROWS 8
#define EIGENFORMER_TILE_VECTORS 3
#include "eigenformer/kernels/isa/table.inl.hpp"

/// The table without the products that an older machine lacks.
[[nodiscard]] constexpr Kernels older(bool bytes) noexcept {
  Kernels kernels = table;
  kernels.bf16_product = avx2::table.bf16_product;
  kernels.left_bfloat16_row = avx2::table.left_bfloat16_row;
  kernels.attention_product = table.float_product;
  if (!bytes) {
    kernels.int8_product = avx2::table.int8_product;
    kernels.left_byte_row = avx2::table.left_byte_row;
  }
  return kernels;
}
inline constexpr Kernels table_without_pairs = older(true);
inline constexpr Kernels table_without_words = older(false);

#include "eigenformer/kernels/isa/amx.inl.hpp"

[[nodiscard]] constexpr Kernels with_amx() noexcept {
  Kernels kernels = table;
  kernels.bf16_product = amx::product<false>;
  kernels.int8_product = amx::product<true>;
  kernels.attention_product = kernels.bf16_product;
  return kernels;
}
inline constexpr Kernels table_with_amx = with_amx();
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__

#undef EIGENFORMER_UNROLL

EIGENFORMER_LINKAGE const Kernels& kernels_of(Isa isa) noexcept {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::amx: return avx512::table_with_amx;
    case Isa::avx512_bf16: return avx512::table;
    case Isa::avx512_vnni: return avx512::table_without_pairs;
    case Isa::avx512: return avx512::table_without_words;
    case Isa::avx2: return avx2::table;
#endif
    default: return baseline::table;
  }
}

#endif  // EIGENFORMER_KERNELS_HERE
#undef EIGENFORMER_LINKAGE

/// The kernels in use.
[[nodiscard]] inline const Kernels& active_kernels() {
  static const Kernels& kernels = kernels_of(active_isa());
  return kernels;
}

}  // namespace eigenformer::kernels
