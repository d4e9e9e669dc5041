// Elementary functions.

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
