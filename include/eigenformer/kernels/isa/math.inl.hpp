// Elementary functions and activations over vectors of floats, for all floats: no result below the
// normal range is lost, NaN stays NaN. Bounds are in units in the last place of the result (ULP),
// found by trying every float in every instruction set, with fused multiply-add and without.
// Polynomials are minimax fits, made for coefficients rounded to float.
// No guard: included once for each instruction set, after Vector, Integers and lanes.

/// The larger and the smaller one; b where one is NaN. GCC takes two instructions for `? :`.
#if defined(__x86_64__) && !defined(__clang__)
#if EIGENFORMER_VECTOR_BYTES == 64
#define EIGENFORMER_PICK(which, a, b) __builtin_ia32_##which##ps512_mask(a, b, a, -1, 4)
#elif EIGENFORMER_VECTOR_BYTES == 32
#define EIGENFORMER_PICK(which, a, b) __builtin_ia32_##which##ps256(a, b)
#else
#define EIGENFORMER_PICK(which, a, b) __builtin_ia32_##which##ps(a, b)
#endif
[[gnu::always_inline]] inline Vector larger_of(Vector a, Vector b) noexcept {
  return EIGENFORMER_PICK(max, a, b);
}
[[gnu::always_inline]] inline Vector smaller_of(Vector a, Vector b) noexcept {
  return EIGENFORMER_PICK(min, a, b);
}
#undef EIGENFORMER_PICK
#else
[[gnu::always_inline]] inline Vector larger_of(Vector a, Vector b) noexcept {
  return a > b ? a : b;
}
[[gnu::always_inline]] inline Vector smaller_of(Vector a, Vector b) noexcept {
  return a < b ? a : b;
}
#endif

/// The square root, rounded correctly. Compilers take a call, for errno, where C++ says sqrt.
[[gnu::always_inline]] inline Vector root_of(Vector x) noexcept {
#if defined(__x86_64__) && EIGENFORMER_VECTOR_BYTES > 16
  asm("vsqrtps %1, %0" : "=v"(x) : "v"(x));
#elif defined(__x86_64__)
  asm("sqrtps %1, %0" : "=x"(x) : "x"(x));
#elif defined(__aarch64__)
  asm("fsqrt %0.4s, %1.4s" : "=w"(x) : "w"(x));
#else
  for (Index i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
#endif
  return x;
}

/// |x|, but at most `limit`.
[[gnu::always_inline]] inline Vector magnitude_of(Vector x, float limit) noexcept {
  return smaller_of(Vector{} + limit, (Vector)((Integers)x & 0x7fffffff));
}
/// y >= 0 with the sign of x.
[[gnu::always_inline]] inline Vector with_sign_of(Vector x, Vector y) noexcept {
  return (Vector)((Integers)y | ((Integers)x & ~0x7fffffff));
}

/// Horner's rule; the coefficients from the highest power down.
template <class... Floats>
[[gnu::always_inline]] inline Vector polynomial(Vector x, float highest, Floats... rest) noexcept {
  Vector sum = Vector{} + highest;
  ((sum = sum * x + rest), ...);
  return sum;
}

inline constexpr float log2_e = 1.44269504f;
/// 1.5 * 2^23: a sum with it is a whole number, whose low bits are the low bits of the float.
inline constexpr float rounder = 12582912.0f;

/// 2^(n - 127) for n in the low bits of `rounded`; 0 for n = 0, infinity for n = 255.
[[gnu::always_inline]] inline Vector power_of(Vector rounded) noexcept {
  return (Vector)((Integers)rounded << 23);
}
/// x 2^n, where both are normal, without a multiplication: those limit the speed of all these.
[[gnu::always_inline]] inline Vector times_power(Vector x, Vector rounded) noexcept {
  return (Vector)((Integers)x + ((Integers)rounded << 23));
}

/// x = n ln 2 + *rest, |*rest| <= ln 2 / 2; returns n + bias, rounded as above.
[[gnu::always_inline]] inline Vector reduce(Vector x, float bias, Vector* rest) noexcept {
  const Vector rounded = x * log2_e + (rounder + bias);
  const Vector n = rounded - (rounder + bias);
  *rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first one exact
  return rounded;
}

/// exp(x) for |x| <= ln 2 / 2. The fit leaves room for rounding errors, which grow with |x|.
[[gnu::always_inline]] inline Vector exp_near_0(Vector x) noexcept {
  return polynomial(x, 0.00823843386f, 0.0419040434f, 0.166686058f, 0.499990851f, 0.999999285f,
                    1.0f);
}

/// Within 2 ULP; 0 and infinity beyond the range.
[[gnu::always_inline]] inline Vector exp_of(Vector x) noexcept {
  Vector rest;
  x = smaller_of(Vector{} + 89.0f, larger_of(Vector{} - 104.0f, x));
  const Integers n = (Integers)reduce(x, 2 * 127, &rest);
  const Integers half = n >> 1;  // 2^n in two factors: each is normal
  return exp_near_0(rest) * (Vector)(half << 23) * (Vector)((n - half) << 23);
}

/// exp(x) for x <= 0 within 2 ULP; below the normal range it may be 0, and is so for x < -87.7.
[[gnu::always_inline]] inline Vector exp_nonpositive_of(Vector x) noexcept {
  Vector rest;
  const Vector n = reduce(larger_of(Vector{} - 88.0f, x), 127, &rest);
  return exp_near_0(rest) * power_of(n);
}

/// exp(-x) = power (1 + *less) for 0 <= x < 20, with all digits of *less; returns the power of 2.
[[gnu::always_inline]] inline Vector decay(Vector x, Vector* less) noexcept {
  const Vector rounded = x * -log2_e + (rounder + 127);
  const Vector r = (rounded - (rounder + 127)) * -0.69314718f - x;
  *less =
      r * r *
          polynomial(r, 0.00135261798f, 0.0083635617f, 0.0416722298f, 0.166665733f, 0.499999851f) +
      r;
  return power_of(rounded);
}

/// (1 - e) / (1 + e), e = exp(-2 |x|), within 2 ULP. It is 1 from 9.02 on.
[[gnu::always_inline]] inline Vector tanh_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, 9.1f);
  Vector less;
  const Vector power = decay(s + s, &less);
  const Vector y = ((1.0f - power) - less * power) / ((1.0f + power) + less * power);
  return with_sign_of(x, y);
}

/// 1 - exp(-s - s g(s)), s = |x|: g is a fit of -log(erfc(s)) / s - 1, which keeps the digits of
/// small results as well. Within 2 ULP. It is 1 from 3.92 on.
[[gnu::always_inline]] inline Vector erf_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, 3.93f);
  const Vector g =
      polynomial(s, -9.38597623e-06f, 0.000118848096f, -0.000637330406f, 0.00167563825f,
                 -0.000169484207f, -0.0191478264f, 0.102776304f, 0.636619568f, 0.128379166f);
  Vector less;
  const Vector power = decay(g * s + s, &less);
  return with_sign_of(x, (1.0f - power) - less * power);
}

/// max(x, 0).
[[gnu::always_inline]] inline Vector relu_of(Vector x) noexcept { return larger_of(Vector{}, x); }

/// The normal distribution's tail: Phi(-s) = density p / q for s >= 0, where 2^-32 density is
/// exp(-s^2 / 2). Phi(-s) exp(s^2 / 2) is the fit p / (c s p + w): the form of its continued
/// fraction, in which rounding errors of p cancel.
struct NormalTail {
  Vector density, p, q;
};
[[gnu::always_inline]] inline NormalTail normal_tail(Vector s) noexcept {
  // s^2 = t - 2 n ln 2 without loss: the upper half of s has a square of 24 bits, and so has n
  // times the first part of 2 ln 2.
  const Vector upper = (Vector)((Integers)s & ~0xfff);
  const Vector square = upper * upper;
  const Vector rounded = square * (-0.5f * log2_e) + (rounder + 32);
  const Vector n = rounded - (rounder + 32);
  const Vector low = n * 2.85721353e-6f + (s - upper) * (s + upper);
  const Vector t = (square + n * 1.38629150390625f) + low;
  const Vector e = times_power(polynomial(t, 2.10147246e-05f, -0.000261571695f, 0.00260462193f,
                                          -0.0208331309f, 0.12499994f, -0.5f, 1.0f),
                               rounded);  // 2^32 exp(-s^2 / 2), which is normal
  const Vector p = polynomial(s, 1.0f, 9.34312439f, 40.4191399f, 93.2802734f, 101.5f);
  const Vector w = polynomial(s, 2.49854445f, 23.6045227f, 94.1079941f, 203.0f);
  return {e, p, times_power(s * p * 2.50663328f + w, Vector{} + (rounder + 32))};
}
inline constexpr float normal_end = 14.375f;  ///< s Phi(-s) is below half the least float there

/// x Phi(x) = max(x, 0) - s Phi(-s), s = |x|, within 4 ULP; 4.2 without fused multiply-add.
[[gnu::always_inline]] inline Vector gelu_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, normal_end);
  const NormalTail tail = normal_tail(s);
  return relu_of(x) - tail.density * (s * tail.p) / tail.q;
}

/// The slope of gelu, Phi(x) + x phi(x), within 1e-6.
[[gnu::always_inline]] inline Vector gelu_slope_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, normal_end);
  const NormalTail tail = normal_tail(s);
  const Vector beyond = tail.density * tail.p / tail.q;              // Phi(-s)
  const Vector more = s * tail.density * (0x1p-32f * 0.398942280f);  // s phi(s)
  const Vector slope = 1.0f - beyond + more;
  const Integers negative = (Integers)x >> 31;
  return (Vector)(((Integers)slope & ~negative) | ((Integers)(beyond - more) & negative));
}

/// x sigmoid(z) = max(x, 0) - s / (1 + exp(|z|)), s = |x|, given 2^-64 exp(|z|), which is normal.
[[gnu::always_inline]] inline Vector gated(Vector x, Vector s, Vector scaled_exp) noexcept {
  return relu_of(x) - s / (scaled_exp + 0x1p-64f) * 0x1p-64f;
}

/// x sigmoid(x) within 3 ULP.
[[gnu::always_inline]] inline Vector silu_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, 110.0f);
  Vector rest;
  const Vector n = reduce(s, -64, &rest);
  const Vector e = polynomial(rest, 0.00138212892f, 0.00836866908f, 0.0416682586f, 0.166665211f,
                              0.49999994f, 1.0f, 1.0f);
  return gated(x, s, times_power(e, n));
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 = x sigmoid(b (x^3 + c x)), which has no
/// cancellation, within 4 ULP; b = 0.0713548163 and c = 22.36386.
[[gnu::always_inline]] inline Vector gelu_tanh_of(Vector x) noexcept {
  const Vector s = magnitude_of(x, 10.8f);
  const Vector rounded = s * (s * s + 22.36386f) * (0.0713548163f * log2_e) + (rounder - 64);
  const Vector n = rounded - (rounder - 64);
  // t = s^3 + c s - n d, d = ln 2 / b, with c and d in two parts and u = s rounded to sixteenths:
  // u (u^2 + c) and n d have at most 24 bits, and the rest is small.
  const Vector u = (s + 0x1.8p19f) - 0x1.8p19f;
  const Vector k = u * u + 22.36328125f;
  const Vector t = ((u * k - n * 9.714111328125f) + (n * 2.03001013e-05f + s * 0.000578752236f)) +
                   (s - u) * (s * (s + u) + k);
  const Vector e = polynomial(t, 1.53420316e-08f, 1.086108e-06f, 6.05538262e-05f, 0.00254571228f,
                              0.071354799f, 1.0f);  // exp(b t)
  return gated(x, s, times_power(e, rounded));
}

/// max(x, 0) - s q(s)^8 for results that are rounded to bf16 or 8 bits, s = |x|: q has these
/// coefficients, and a root at `end`, so that a negative x gives 0 from there.
template <class... Floats>
[[gnu::always_inline]] inline Vector gated_approx(Vector x, float end,
                                                  Floats... coefficients) noexcept {
  const Vector s = magnitude_of(x, end);
  Vector q = polynomial(s, coefficients...);
  q = q * q;
  q = q * q;
  return relu_of(x) - s * (q * q);
}

/// x Phi(x) within 1.3e-5, and within 2^-10 of itself where |y| > 1e-3.
[[gnu::always_inline]] inline Vector gelu_approx_of(Vector x) noexcept {
  return gated_approx(x, 6.178304f, -0.000181738418f, 0.00186042534f, -0.000869969197f,
                      -0.0320154205f, -0.0913621336f, 0.916994512f);
}

/// The same of gelu_tanh, within 1.8e-5.
[[gnu::always_inline]] inline Vector gelu_tanh_approx_of(Vector x) noexcept {
  return gated_approx(x, 6.0f, -9.21688479e-05f, 0.000999896671f, 0.00124193414f, -0.0339049548f,
                      -0.0906230211f, 0.916897535f);
}
