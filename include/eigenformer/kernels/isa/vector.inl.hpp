// Vectors of EIGENFORMER_VECTOR_BYTES. No guard: kernels.hpp includes this file once for each
// instruction set, inside a namespace and a target region. Nothing in such files may call a
// function template of the standard library that is not inlined, since the linker could pick a copy
// that was compiled for another instruction set.

using Vector [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = float;
using Integers [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = std::int32_t;
using Naturals [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = std::uint32_t;

inline constexpr Index lanes = EIGENFORMER_VECTOR_BYTES / 4;
inline constexpr int tile_vectors = EIGENFORMER_TILE_VECTORS;
inline constexpr int tile_rows = EIGENFORMER_TILE_ROWS;

[[gnu::always_inline]] inline Vector load(const float* from) noexcept {
  Vector v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
[[gnu::always_inline]] inline void store(float* to, Vector v) noexcept {
  __builtin_memcpy(to, &v, sizeof(v));
}
/// The numbers that are there, followed by zeros.
[[gnu::always_inline]] inline Vector load_up_to(const float* from, Index there) noexcept {
  if (there >= lanes) return load(from);
  Vector v{};
  if (there > 0) __builtin_memcpy(&v, from, static_cast<std::size_t>(there) * sizeof(float));
  return v;
}
[[gnu::always_inline]] inline void store_up_to(float* to, Vector v, Index there) noexcept {
  if (there >= lanes)
    store(to, v);
  else if (there > 0)
    __builtin_memcpy(to, &v, static_cast<std::size_t>(there) * sizeof(float));
}
[[gnu::always_inline]] inline float sum_of(Vector v) noexcept {
  using Quad [[gnu::vector_size(16)]] = float;
  Quad quads[lanes / 4];
  __builtin_memcpy(quads, &v, sizeof(v));
  Quad sum = quads[0];
  for (Index i = 1; i < lanes / 4; ++i) sum += quads[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}
