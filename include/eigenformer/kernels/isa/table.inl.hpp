// All kernels of one instruction set. No guard: see vector.inl.hpp.
// Each of these builds on the ones before it:
// clang-format off
#include "eigenformer/kernels/isa/vector.inl.hpp"
#include "eigenformer/kernels/isa/math.inl.hpp"
#include "eigenformer/kernels/isa/tile.inl.hpp"
#include "eigenformer/kernels/isa/pack.inl.hpp"
#include "eigenformer/kernels/isa/rows.inl.hpp"
// clang-format on

template <class Arithmetic>
[[nodiscard]] constexpr Product product_of() noexcept {
  Product how{
      tile_rows, Arithmetic::most_vectors * lanes, Arithmetic::group, Arithmetic::left_words,
      1,         multiply_tile<Arithmetic>};
#if EIGENFORMER_NATIVE_WORDS
  how.row = multiply_row<Arithmetic, row_panels>;
  how.row_panels = row_panels;
#endif
  return how;
}

inline constexpr Kernels table {
  product_of<FloatWords>(), product_of<BFloat16Words>(), product_of<ByteWords>(),
#if EIGENFORMER_NATIVE_WORDS
      product_of<BFloat16Words>(),
#else
      product_of<FloatWords>(),
#endif
      lanes, pack_words, bfloat16_row, float_row, float_rows, pair_rows, signed_byte_row,
      left_bfloat16_row, left_byte_row, multiply, dropout, adam, sum_of_squares, exp, erf, tanh,
      gelu, gelu_approx, gelu_backward, gelu_tanh, gelu_tanh_approx, silu, relu, softmax_row,
      softmax_columns<false>, softmax_columns<true>, dot_rows, sum_rows, norm_row, norm_row_backward
};

#undef EIGENFORMER_NATIVE_WORDS
#undef EIGENFORMER_VECTOR_BYTES
#undef EIGENFORMER_TILE_ROWS
#undef EIGENFORMER_TILE_VECTORS
