// Work on rows: activations, softmax, layer normalisation. No guard: see vector.inl.hpp.

#define EIGENFORMER_MAP(name, function)                                       \
  inline void name(const float* x, float* y, Index n) noexcept {              \
    Index i = 0;                                                              \
    for (; i + lanes <= n; i += lanes) store(y + i, function(load(x + i)));   \
    if (i < n) store_up_to(y + i, function(load_up_to(x + i, n - i)), n - i); \
  }
EIGENFORMER_MAP(exp, exp_of)
EIGENFORMER_MAP(erf, erf_of)
EIGENFORMER_MAP(tanh, tanh_of)
EIGENFORMER_MAP(gelu, gelu_of)
EIGENFORMER_MAP(gelu_approx, gelu_approx_of)
EIGENFORMER_MAP(gelu_tanh, gelu_tanh_of)
EIGENFORMER_MAP(gelu_tanh_approx, gelu_tanh_approx_of)
EIGENFORMER_MAP(silu, silu_of)
EIGENFORMER_MAP(relu, relu_of)
#undef EIGENFORMER_MAP

/// product = x y
inline void multiply(const float* x, const float* y, float* product, Index n) noexcept {
  Index i = 0;
  for (; i + lanes <= n; i += lanes) store(product + i, load(x + i) * load(y + i));
  for (; i < n; ++i) product[i] = x[i] * y[i];
}

/// dx = gelu'(x) dy
inline void gelu_backward(const float* x, const float* dy, float* dx, Index n) noexcept {
  for (Index i = 0; i < n; i += lanes) {
    const Vector slope = gelu_slope_of(load_up_to(x + i, n - i));
    store_up_to(dx + i, slope * load_up_to(dy + i, n - i), n - i);
  }
}

/// y = x scale where the draw keeps it, else 0; `first` is the position of x[0].
inline void dropout(const float* x, float* y, Index n, DropoutDraw draw, std::uint32_t first,
                    float scale) noexcept {
  Naturals position;
  for (Index i = 0; i < lanes; ++i) position[i] = first + static_cast<std::uint32_t>(i);
  for (Index i = 0; i < n; i += lanes, position += static_cast<std::uint32_t>(lanes)) {
    Naturals number = position;
    draw.mix(number);
    const auto kept = (Integers)(number >= draw.threshold);
    const Vector scaled = load_up_to(x + i, n - i) * scale;
    store_up_to(y + i, (Vector)((Integers)scaled & kept), n - i);
  }
}

/// The update of Adam; see adamw.hpp.
inline void adam(const AdamStep<float>& step, const float* gradient, float* mean, float* square,
                 float* value, float* direction, Index n) noexcept {
  for (Index i = 0; i < n; i += lanes) {
    const Index there = n - i;
    const Vector g = load_up_to(gradient + i, there) * step.gradient_scale;
    const Vector m = load_up_to(mean + i, there) * step.beta1 + g * (1 - step.beta1);
    const Vector v = load_up_to(square + i, there) * step.beta2 + g * g * (1 - step.beta2);
    store_up_to(mean + i, m, there);
    store_up_to(square + i, v, there);
    const Vector u = m * step.mean_correction / (root_of(v * step.square_correction) + step.eps);
    if (value != nullptr)
      store_up_to(value + i, load_up_to(value + i, there) * step.keep - u * step.rate, there);
    else
      store_up_to(direction + i, u, there);
  }
}

/// The sum of the squares, in double.
inline double sum_of_squares(const float* x, Index n) noexcept {
  using Halves [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES / 2)]] = float;
  using Doubles [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = double;
  constexpr Index half = lanes / 2;
  constexpr int parts = 4;
  Doubles sums[parts] = {};
  Index i = 0;
  for (; i + parts * half <= n; i += parts * half) {
    EIGENFORMER_UNROLL
    for (int part = 0; part < parts; ++part) {
      Halves numbers;
      __builtin_memcpy(&numbers, x + i + part * half, sizeof(numbers));
      const Doubles wide = __builtin_convertvector(numbers, Doubles);
      sums[part] += wide * wide;
    }
  }
  sums[0] += sums[1] + (sums[2] + sums[3]);
  double sum = 0;
  for (Index j = 0; j < half; ++j) sum += sums[0][j];
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

/// y = softmax(x); returns the sum of exp(x - max) and sets `top` to max.
inline float softmax_row(const float* x, float* y, Index n, float* top) noexcept {
  float most = -__builtin_inff();
  Vector mosts = Vector{} + most;
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    const Vector v = load(x + i);
    mosts = larger_of(v, mosts);
  }
  for (Index j = 0; j < lanes; ++j) most = mosts[j] > most ? mosts[j] : most;
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  Vector sums{};
  for (i = 0; i + lanes <= n; i += lanes) {
    const Vector e = exp_nonpositive_of(load(x + i) - most);
    store(y + i, e);
    sums += e;
  }
  float sum = sum_of(sums);
  if (i < n) {
    const Vector e = exp_nonpositive_of(load_up_to(x + i, n - i) - most);
    store_up_to(y + i, e, n - i);
    for (Index j = 0; j < n - i; ++j) sum += e[j];
  }
  const float scale = 1.0f / sum;
  for (i = 0; i + lanes <= n; i += lanes) store(y + i, load(y + i) * scale);
  for (; i < n; ++i) y[i] *= scale;
  *top = most;
  return sum;
}

/// Softmax down the columns of scores `[keys][step]`, without the division by the sum: exp(scale (x
/// - max)) as words, `inverse_sums` for each column. Columns up to the next whole vector are
/// computed. With `pairs`, words of two bfloat16 `[(keys + 1) / 2][step]`; else floats. May be in
/// place.
template <bool pairs>
inline void softmax_columns(const float* scores, Index keys, Index columns, Index step, float scale,
                            Word* words, float* inverse_sums) noexcept {
  for (Index column = 0; column < columns; column += lanes) {
    const float* x = scores + column;
    Vector top = load(x);
    for (Index key = 1; key < keys; ++key) {
      const Vector v = load(x + key * step);
      top = larger_of(v, top);
    }
    Vector sum{};
    if constexpr (pairs) {
      for (Index key = 0; key < keys; key += 2) {
        const Vector even = exp_nonpositive_of((load(x + key * step) - top) * scale);
        const Vector odd = key + 1 < keys
                               ? exp_nonpositive_of((load(x + (key + 1) * step) - top) * scale)
                               : Vector{};
        sum += even + odd;
        // Rounded half up: all are numbers from 0 to 1.
        const Integers low = (((Integers)even + 0x8000) >> 16) & 0xffff;
        const Integers high = ((Integers)odd + 0x8000) & static_cast<std::int32_t>(0xffff0000);
        const Integers both = low | high;
        __builtin_memcpy(words + key / 2 * step + column, &both, sizeof(both));
      }
    } else {
      for (Index key = 0; key < keys; ++key) {
        const Vector e = exp_nonpositive_of((load(x + key * step) - top) * scale);
        sum += e;
        __builtin_memcpy(words + key * step + column, &e, sizeof(e));
      }
    }
    store(inverse_sums + column, 1.0f / sum);
  }
}

/// out[h, i] = x[h] row[i, h] for `count` rows, of n numbers each that follow each other; rows are
/// `stride` apart. What lies `later` behind them is brought nearer.
template <Index count>
[[gnu::always_inline]] inline void dot_block(const float* x, const float* rows, Index stride,
                                             Index n, Index later, MatrixView<float> out) noexcept {
  for (Index h = 0; h < out.rows; ++h, rows += n, x += n) {
    Vector sums[count] = {};
    Index j = 0;
    for (; j + lanes <= n; j += lanes) {
      const Vector own = load(x + j);
      EIGENFORMER_UNROLL
      for (Index i = 0; i < count; ++i) {
        const float* const from = rows + i * stride + j;
        __builtin_prefetch(from + later);
        sums[i] += own * load(from);
      }
    }
    for (Index i = 0; i < count; ++i) {
      float sum = sum_of(sums[i]);
      for (Index rest = j; rest < n; ++rest) sum += x[rest] * rows[i * stride + rest];
      out.row(h)[i] = sum;
    }
  }
}

/// out[h, i] = x[h] row[i, h], as above.
inline void dot_rows(const float* x, const float* rows, Index stride, Index n,
                     MatrixView<float> out) noexcept {
  constexpr Index block = 8;  // rows that are read at once, head by head
  Index i = 0;
  for (; i + block <= out.cols; i += block) {
    const Index later = i + 2 * block <= out.cols ? block * stride : 0;
    dot_block<block>(x, rows + i * stride, stride, n, later, out.columns(i, block));
  }
  for (; i < out.cols; ++i) dot_block<1>(x, rows + i * stride, stride, n, 0, out.columns(i, 1));
}

/// out += sum over i of weights[i] row[i], for `count` rows of `vectors` whole vectors. What lies
/// `later` behind them is brought nearer.
template <int vectors>
[[gnu::always_inline]] inline void add_rows(const float* weights, const float* rows, Index stride,
                                            Index count, Index later, float* out) noexcept {
  Vector sums[vectors];
  EIGENFORMER_UNROLL
  for (int k = 0; k < vectors; ++k) sums[k] = load(out + k * lanes);
  for (Index i = 0; i < count; ++i) {
    EIGENFORMER_UNROLL
    for (int k = 0; k < vectors; ++k) {
      const float* const from = rows + i * stride + k * lanes;
      __builtin_prefetch(from + later);
      sums[k] += load(from) * weights[i];
    }
  }
  EIGENFORMER_UNROLL
  for (int k = 0; k < vectors; ++k) store(out + k * lanes, sums[k]);
}

/// out[h] = sum over i of weights[h, i] row[i, h], as above.
inline void sum_rows(MatrixView<const float> weights, const float* rows, Index stride, Index n,
                     float* out) noexcept {
  constexpr Index at_once = 16;  // rows that are read before the next ones, head by head
  for (Index j = 0; j < weights.rows * n; ++j) out[j] = 0;
  for (Index first = 0; first < weights.cols; first += at_once) {
    const Index count = weights.cols - first < at_once ? weights.cols - first : at_once;
    const float* block = rows + first * stride;
    float* sums = out;
    const Index later = weights.cols - first >= 2 * at_once ? at_once * stride : 0;
    for (Index h = 0; h < weights.rows; ++h, block += n, sums += n) {
      const float* const own = weights.row(h) + first;
      Index j = 0;
      for (; j + 4 * lanes <= n; j += 4 * lanes) {
        add_rows<4>(own, block + j, stride, count, later, sums + j);
      }
      for (; j + lanes <= n; j += lanes)
        add_rows<1>(own, block + j, stride, count, later, sums + j);
      for (; j < n; ++j) {
        for (Index i = 0; i < count; ++i) sums[j] += block[i * stride + j] * own[i];
      }
    }
  }
}

/// y = (s - mean) / sqrt(variance + eps) gamma + beta over the n numbers of s = x + residual, where
/// `residual` may be null. `sum` gets s, unless null. Returns 1 / sqrt(variance + eps).
inline float norm_row(const float* x, const float* residual, const float* gamma, const float* beta,
                      float eps, float* y, float* sum, Index n) noexcept {
  Vector sums{};
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    Vector v = load(x + i);
    if (residual != nullptr) v += load(residual + i);
    if (sum != nullptr) store(sum + i, v);
    store(y + i, v);
    sums += v;
  }
  float mean = sum_of(sums);
  for (; i < n; ++i) {
    y[i] = residual == nullptr ? x[i] : x[i] + residual[i];
    if (sum != nullptr) sum[i] = y[i];
    mean += y[i];
  }
  mean /= static_cast<float>(n);
  sums = Vector{};
  for (i = 0; i + lanes <= n; i += lanes) {
    const Vector d = load(y + i) - mean;
    sums += d * d;
  }
  float variance = sum_of(sums);
  for (; i < n; ++i) variance += (y[i] - mean) * (y[i] - mean);
  variance /= static_cast<float>(n);
  const float scale = 1.0f / __builtin_sqrtf(variance + eps);
  for (i = 0; i + lanes <= n; i += lanes) {
    store(y + i, (load(y + i) - mean) * scale * load(gamma + i) + load(beta + i));
  }
  for (; i < n; ++i) y[i] = (y[i] - mean) * scale * gamma[i] + beta[i];
  return scale;
}

/// The gradient of norm_row for x, which is the sum there; `scale` is what it returned. dx is
/// written, dgamma and dbeta are added to; each of the three may be null.
inline void norm_row_backward(const float* x, const float* gamma, float scale, const float* dy,
                              float* dx, float* dgamma, float* dbeta, Index n) noexcept {
  Vector sums{};
  for (Index i = 0; i < n; i += lanes) sums += load_up_to(x + i, n - i);
  const float mean = sum_of(sums) / static_cast<float>(n);
  Vector gradients{};  // of g = dy gamma
  Vector moments{};    // of g times the normalised x
  for (Index i = 0; i < n; i += lanes) {
    const Vector g = load_up_to(dy + i, n - i) * load_up_to(gamma + i, n - i);
    gradients += g;
    moments += g * ((load_up_to(x + i, n - i) - mean) * scale);
  }
  const float mean_g = sum_of(gradients) / static_cast<float>(n);
  const float mean_g_normal = sum_of(moments) / static_cast<float>(n);
  for (Index i = 0; i < n; i += lanes) {
    const Index there = n - i;
    const Vector d = load_up_to(dy + i, there);
    const Vector normal = (load_up_to(x + i, there) - mean) * scale;
    if (dgamma != nullptr)
      store_up_to(dgamma + i, load_up_to(dgamma + i, there) + d * normal, there);
    if (dbeta != nullptr) store_up_to(dbeta + i, load_up_to(dbeta + i, there) + d, there);
    if (dx != nullptr) {
      const Vector g = d * load_up_to(gamma + i, there);
      store_up_to(dx + i, (g - mean_g - normal * mean_g_normal) * scale, there);
    }
  }
}
