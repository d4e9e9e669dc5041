// The float kernels, written once over vectors of EIGENFORMER_VECTOR_BYTES and compiled for each
// instruction set. No guard: float_kernels.hpp includes this file once for each, inside a namespace
// and a target region. Nothing here may call a function template of the standard library that is
// not inlined, since the linker could pick a copy that was compiled for another instruction set.

using Vector [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = float;
using Integers [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = std::int32_t;

inline constexpr Index lanes = EIGENFORMER_VECTOR_BYTES / 4;
inline constexpr int tile_vectors = EIGENFORMER_TILE_VECTORS;
inline constexpr int tile_rows = EIGENFORMER_TILE_ROWS;
inline constexpr Index tile_columns = tile_vectors * lanes;

[[gnu::always_inline]] inline Vector load(const float* from) noexcept {
  Vector v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
[[gnu::always_inline]] inline void store(float* to, Vector v) noexcept {
  __builtin_memcpy(to, &v, sizeof(v));
}
[[gnu::always_inline]] inline Vector load_some(const float* from, Index count) noexcept {
  Vector v{};
  __builtin_memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(float));
  return v;
}
[[gnu::always_inline]] inline void store_some(float* to, Vector v, Index count) noexcept {
  __builtin_memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(float));
}
[[gnu::always_inline]] inline float sum_of(Vector v) noexcept {
  float sum = 0;
  for (Index i = 0; i < lanes; ++i) sum += v[i];
  return sum;
}

/// exp(high + low) for |low| much smaller than |high|; 0 and inf beyond float's range.
[[gnu::always_inline]] inline Vector exp_sum(Vector high, Vector low) noexcept {
  high = high < -105.0f ? Vector{} - 105.0f : high;
  high = high > 89.5f ? Vector{} + 89.5f : high;
  const float round =
      12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Vector shifted = high * 1.44269504f + round;
  const Vector n = shifted - round;
  const Vector r = ((high - n * 0.693359375f) + n * 2.12194440e-4f) + low;  // ln 2 in two parts
  Vector q = r * 0.0013814467238f + 0.0083687808368f;
  q = q * r + 0.0416683927178f;
  q = q * r + 0.1666651964188f;
  q = q * r + 0.4999999403954f;
  const Vector e = q * (r * r) + r + 1.0f;
  // 2^n in two factors, so that results below the normal range and overflow come out right.
  const Integers whole = (Integers)shifted - 0x4B400000;
  const Integers half = whole >> 1;
  return e * (Vector)((half + 127) << 23) * (Vector)((whole - half + 127) << 23);
}
[[gnu::always_inline]] inline Vector exp_of(Vector x) noexcept { return exp_sum(x, Vector{}); }

/// x Phi(x). With s = |x| / sqrt 2 the tail is erfc(s) / 2 = exp(-s^2) p(u) / (2 (s + 3)), where
/// u = (s - 3) / (s + 3): accurate to the last digits however far out.
[[gnu::always_inline]] inline Vector gelu_of(Vector x) noexcept {
  const Vector magnitude = x < 0.0f ? -x : x;
  const Vector s = magnitude * 0.70710678f;
  const Vector u = (s - 3.0f) / (s + 3.0f);
  Vector p = u * -0.00032051003655f - 0.00047402450582f;
  p = p * u + 0.00308194756508f;
  p = p * u - 0.00123147794511f;
  p = p * u - 0.02684159763157f;
  p = p * u + 0.11952997744083f;
  p = p * u - 0.31046572327614f;
  p = p * u + 0.59022825956345f;
  p = p * u - 0.88339447975159f;
  p = p * u + 1.07400691509247f;
  // x^2 = high + low exactly: the upper half of x has a square without rounding.
  const Vector upper = (Vector)((Integers)x & ~0xfff);
  const Vector high = upper * upper;
  const Vector low = (x - upper) * (x + upper);
  const Vector near = 0.5f * exp_sum(-0.5f * high, -0.5f * low) * p / (s + 3.0f);
  const Vector tail = magnitude > 15.0f ? Vector{} : near;  // where x^2 might overflow
  return x < 0.0f ? x * tail : (magnitude > 15.0f ? x : x - x * tail);
}

/// x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), which is the tanh form without its cancellation.
[[gnu::always_inline]] inline Vector gelu_tanh_of(Vector x) noexcept {
  return x / (1.0f + exp_of(-1.59576912f * (x + 0.044715f * x * x * x)));
}

[[gnu::always_inline]] inline Vector silu_of(Vector x) noexcept { return x / (1.0f + exp_of(-x)); }

[[gnu::always_inline]] inline Vector relu_of(Vector x) noexcept { return x < 0.0f ? Vector{} : x; }

#define EIGENFORMER_MAP(name, function)                                     \
  inline void name(const float* x, float* y, Index n) noexcept {            \
    Index i = 0;                                                            \
    for (; i + lanes <= n; i += lanes) store(y + i, function(load(x + i))); \
    if (i < n) store_some(y + i, function(load_some(x + i, n - i)), n - i); \
  }
EIGENFORMER_MAP(gelu, gelu_of)
EIGENFORMER_MAP(gelu_tanh, gelu_tanh_of)
EIGENFORMER_MAP(silu, silu_of)
EIGENFORMER_MAP(relu, relu_of)
#undef EIGENFORMER_MAP

/// y = softmax(x); returns log(sum(exp(x))) - max(x) by way of `top` and the result.
inline float softmax_row(const float* x, float* y, Index n, float* top) noexcept {
  float most = -__builtin_inff();
  Vector mosts = Vector{} + most;
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    const Vector v = load(x + i);
    mosts = v > mosts ? v : mosts;
  }
  for (Index j = 0; j < lanes; ++j) most = mosts[j] > most ? mosts[j] : most;
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  Vector sums{};
  for (i = 0; i + lanes <= n; i += lanes) {
    const Vector e = exp_of(load(x + i) - most);
    store(y + i, e);
    sums += e;
  }
  float sum = sum_of(sums);
  if (i < n) {
    const Vector e = exp_of(load_some(x + i, n - i) - most);
    store_some(y + i, e, n - i);
    for (Index j = 0; j < n - i; ++j) sum += e[j];
  }
  const float scale = 1.0f / sum;
  for (i = 0; i + lanes <= n; i += lanes) store(y + i, load(y + i) * scale);
  for (; i < n; ++i) y[i] *= scale;
  *top = most;
  return sum;
}

/// y = (x - mean) / sqrt(variance + eps) gamma + beta over n numbers; returns 1 / sqrt(...).
inline float norm_row(const float* x, const float* gamma, const float* beta, float eps, float* y,
                      Index n) noexcept {
  Vector sums{};
  Index i = 0;
  for (; i + lanes <= n; i += lanes) sums += load(x + i);
  float mean = sum_of(sums);
  for (; i < n; ++i) mean += x[i];
  mean /= static_cast<float>(n);
  sums = Vector{};
  for (i = 0; i + lanes <= n; i += lanes) {
    const Vector d = load(x + i) - mean;
    sums += d * d;
  }
  float variance = sum_of(sums);
  for (; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  variance /= static_cast<float>(n);
  const float scale = 1.0f / __builtin_sqrtf(variance + eps);
  for (i = 0; i + lanes <= n; i += lanes) {
    store(y + i, (load(x + i) - mean) * scale * load(gamma + i) + load(beta + i));
  }
  for (; i < n; ++i) y[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
  return scale;
}

/// One tile of c = a b (+ c) (+ bias): `a` is [k][tile_rows], `b` [k][tile_columns], both packed
/// and padded; `c` has `rows` rows and `columns` columns, `stride` apart. `next` is memory that the
/// next tiles read, of which this one brings `next_step` floats for each k closer.
inline void gemm_tile(Index k, const float* a, const float* b, float* c, Index stride, Index rows,
                      Index columns, const float* bias, bool accumulate, const float* next,
                      Index next_step) noexcept {
  Vector sums[tile_rows][tile_vectors] = {};
  for (Index p = 0; p < k; ++p) {
    Vector right[tile_vectors];
    EIGENFORMER_UNROLL
    for (int v = 0; v < tile_vectors; ++v) {
      right[v] = load(b + v * lanes);
      __builtin_prefetch(next + v * (next_step / tile_vectors), 0, 2);
    }
    EIGENFORMER_UNROLL
    for (int i = 0; i < tile_rows; ++i) {
      EIGENFORMER_UNROLL
      for (int v = 0; v < tile_vectors; ++v) sums[i][v] += a[i] * right[v];
    }
    a += tile_rows;
    b += tile_columns;
    next += next_step;
  }
  if (rows == tile_rows && columns == tile_columns) {
    EIGENFORMER_UNROLL
    for (int i = 0; i < tile_rows; ++i) {
      EIGENFORMER_UNROLL
      for (int v = 0; v < tile_vectors; ++v) {
        float* at = c + i * stride + v * lanes;
        if (bias != nullptr) sums[i][v] += load(bias + v * lanes);
        if (accumulate) sums[i][v] += load(at);
        store(at, sums[i][v]);
      }
    }
    return;
  }
  float whole[tile_rows * tile_columns];
  for (int i = 0; i < tile_rows; ++i) {
    for (int v = 0; v < tile_vectors; ++v) {
      store(whole + i * tile_columns + v * lanes, sums[i][v]);
    }
  }
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      float sum = whole[i * tile_columns + j];
      if (bias != nullptr) sum += bias[j];
      c[i * stride + j] = accumulate ? sum + c[i * stride + j] : sum;
    }
  }
}

inline constexpr FloatKernels table{tile_rows, tile_columns, gemm_tile,   gelu,    gelu_tanh,
                                    silu,      relu,         softmax_row, norm_row};
