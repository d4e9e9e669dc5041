// Packing: rows of numbers become rows of words, and rows of words the columns of an operand. No
// guard: see vector.inl.hpp.

using Octet [[gnu::vector_size(32)]] = std::int32_t;  // 8 words
using FloatOctet [[gnu::vector_size(32)]] = float;
inline constexpr Index narrow_bytes = 4 * (lanes > 8 ? 8 : lanes);
using NarrowVector [[gnu::vector_size(narrow_bytes)]] = float;  // at most 8
using NarrowWords [[gnu::vector_size(narrow_bytes)]] = std::int32_t;

[[gnu::always_inline]] inline void transpose(Octet (&words)[8]) noexcept {
#if EIGENFORMER_VECTOR_BYTES == 16  // halves by hand: GCC takes wider vectors apart word by word
  Integers from[8][2];
  Integers to[8][2];
  __builtin_memcpy(from, words, sizeof(from));
  EIGENFORMER_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int half = i / 2;
    const int first = i % 2 * 4;
    Integers pairs[4];
    EIGENFORMER_UNROLL
    for (int j = 0; j < 4; j += 2) {
      const Integers a = from[first + j][half];
      const Integers b = from[first + j + 1][half];
      pairs[j] = __builtin_shufflevector(a, b, 0, 4, 2, 6);
      pairs[j + 1] = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    }
    EIGENFORMER_UNROLL
    for (int j = 0; j < 2; ++j) {
      const int row = 4 * half + j;
      to[row][first / 4] = __builtin_shufflevector(pairs[j], pairs[j + 2], 0, 1, 4, 5);
      to[row + 2][first / 4] = __builtin_shufflevector(pairs[j], pairs[j + 2], 2, 3, 6, 7);
    }
  }
  __builtin_memcpy(words, to, sizeof(to));
#else
  Octet pairs[8];
  EIGENFORMER_UNROLL
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = __builtin_shufflevector(words[i], words[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    pairs[i + 1] = __builtin_shufflevector(words[i], words[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  Octet fours[8];
  EIGENFORMER_UNROLL
  for (int i = 0; i < 8; i += 4) {
    EIGENFORMER_UNROLL
    for (int j = i; j < i + 2; ++j) {
      fours[j] = __builtin_shufflevector(pairs[j], pairs[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[j + 2] = __builtin_shufflevector(pairs[j], pairs[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  EIGENFORMER_UNROLL
  for (int i = 0; i < 4; ++i) {
    words[i] = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    words[i + 4] = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
}

/// out[p * step + i] = word p of row i, for i < width <= 8; zero for i >= rows. Rows are `stride`
/// words apart; `width` is at most 8.
inline void pack_words(const Word* x, Index stride, Index rows, Index width, Index steps, Word* out,
                       Index step) noexcept {
  Index p = 0;
  for (; p + 8 <= steps; p += 8) {
    Octet words[8] = {};
    EIGENFORMER_UNROLL
    for (int i = 0; i < 8; ++i) {
      if (i < rows) __builtin_memcpy(&words[i], x + i * stride + p, sizeof(Octet));
    }
    transpose(words);
    // Whole octets, each of which ends in numbers that the next one overwrites.
    Word* const to = out + p * step;
    if (width == 8 || (width == step && p + 8 < steps)) {
      EIGENFORMER_UNROLL
      for (int j = 0; j < 8; ++j) __builtin_memcpy(to + j * step, &words[j], sizeof(Octet));
    } else {
      for (Index j = 0; j < 8; ++j) {
        for (Index i = 0; i < width; ++i) to[j * step + i] = static_cast<Word>(words[j][i]);
      }
    }
  }
  for (; p < steps; ++p) {
    for (Index i = 0; i < width; ++i) {
      Word word = 0;
      if (i < rows) __builtin_memcpy(&word, x + i * stride + p, sizeof(word));
      out[p * step + i] = word;
    }
  }
}

/// Calls convert(from, p) for each `size` numbers of a row; the last of them followed by zeros.
template <Index size, class Convert>
[[gnu::always_inline]] inline void in_pieces(const float* x, Index n, Convert&& convert) noexcept {
  Index p = 0;
  for (; p + size <= n; p += size) convert(x + p, p);
  if (p == n) return;
  float rest[size] = {};
  for (Index i = p; i < n; ++i) rest[i - p] = x[i];
  convert(static_cast<const float*>(rest), p);
}

/// The nearest bfloat16, ties to even, in the upper half of each word; NaN stays NaN.
template <class Floats = Vector, class V>
[[gnu::always_inline]] inline V rounded_to_bfloat16(V bits) noexcept {
  const auto x = (Floats)bits;
  return x == x ? bits + 0x7fff + ((bits >> 16) & 1) : (bits | 0x400000);
}

/// n numbers as bfloat16, two in a word, padded with zeros to 8 words.
inline void bfloat16_row(const float* x, Index n, Word* words) noexcept {
  in_pieces<16>(x, n, [=](const float* from, Index p) {
    Integers rounded[16 / lanes];
    for (Index i = 0; i < 16 / lanes; ++i) {
      rounded[i] = rounded_to_bfloat16((Integers)load(from + i * lanes));
    }
    Octet low;
    Octet high;
    __builtin_memcpy(&low, rounded, sizeof(low));
    __builtin_memcpy(&high, reinterpret_cast<const char*>(rounded) + sizeof(low), sizeof(high));
    const Octet even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    const Octet odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
    const Octet pairs = ((even >> 16) & 0xffff) | (odd & static_cast<std::int32_t>(0xffff0000));
    __builtin_memcpy(words + p / 2, &pairs, sizeof(pairs));
  });
}

/// The numbers of words of two bfloat16, which are padded to 8.
inline void float_row(const Word* words, Index n, float* x) noexcept {
  using Shorts [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES / 2)]] = std::uint16_t;
  for (Index i = 0; i < n; i += lanes) {
    Shorts halves;
    __builtin_memcpy(&halves, words + i / 2, sizeof(halves));
    store_up_to(x + i, (Vector)(__builtin_convertvector(halves, Naturals) << 16), n - i);
  }
}

/// n words, at sizes that matter without a loop.
[[gnu::always_inline]] inline void copy_words(const float* x, Index n, Word* words) noexcept {
  switch (n) {
    case 48: __builtin_memcpy(words, x, 48 * sizeof(Word)); break;
    case 8: __builtin_memcpy(words, x, 8 * sizeof(Word)); break;
    case 6: __builtin_memcpy(words, x, 6 * sizeof(Word)); break;
    default: __builtin_memcpy(words, x, static_cast<std::size_t>(n) * sizeof(Word));
  }
}

/// What follows a row of few columns comes nearer: more rows are read side by side than a processor
/// follows of itself.
[[gnu::always_inline]] inline void bring_narrow_nearer(const MatrixView<const float>& x,
                                                       Index row) noexcept {
  if (x.cols <= 8) __builtin_prefetch(x.data + row * x.stride + 32);
}

/// Rows as steps of an operand: `width` words each, of one float, zeros beyond the columns.
inline void float_rows(const MatrixView<const float>& x, Word* words, Index width) noexcept {
  for (Index i = 0; i < x.rows; ++i, words += width) {
    bring_narrow_nearer(x, i);
    copy_words(x.data + i * x.stride, x.cols, words);
    for (Index j = x.cols; j < width; ++j) words[j] = 0;
  }
}

/// Pairs of bfloat16 from two rows' `columns` numbers, in whole vectors `V` of words.
template <class V, class Floats>
[[gnu::always_inline]] inline void pair_row(const float* even, const float* odd, Index columns,
                                            Word* words) noexcept {
  EIGENFORMER_UNROLL
  for (Index j = 0; j < columns; j += Index{sizeof(V) / sizeof(Word)}) {
    V low;
    V high;
    __builtin_memcpy(&low, even + j, sizeof(V));
    __builtin_memcpy(&high, odd + j, sizeof(V));
    const V pairs = ((rounded_to_bfloat16<Floats>(low) >> 16) & 0xffff) |
                    (rounded_to_bfloat16<Floats>(high) & static_cast<std::int32_t>(0xffff0000));
    __builtin_memcpy(words + j, &pairs, sizeof(V));
  }
}

/// The same of two bfloat16, from two rows each; after the last row may come one of zeros.
inline void pair_rows(const MatrixView<const float>& x, Word* words, Index width) noexcept {
  const float zeros[lanes > 8 ? lanes : 8] = {};
  for (Index i = 0; i < x.rows; i += 2, words += width) {
    const bool both = i + 1 < x.rows;
    const float* const even = x.data + i * x.stride;
    const float* const odd = even + x.stride;
    bring_narrow_nearer(x, i);
    bring_narrow_nearer(x, i + 1);
    if (x.cols == panel_columns && both) {
      pair_row<Integers, Vector>(even, odd, panel_columns, words);
    } else if (x.cols == 8) {
      pair_row<NarrowWords, NarrowVector>(even, both ? odd : zeros, 8, words);
    } else {
      const Index whole = x.cols - x.cols % lanes;
      for (Index j = 0; j < whole; j += lanes) {
        pair_row<Integers, Vector>(even + j, both ? odd + j : zeros, lanes, words + j);
      }
      float last[2][lanes] = {};
      for (Index j = whole; j < x.cols; ++j) {
        last[0][j - whole] = even[j];
        last[1][j - whole] = both ? odd[j] : 0.0f;
      }
      Word pairs[lanes];
      pair_row<Integers, Vector>(last[0], last[1], lanes, pairs);
      for (Index j = whole; j < x.cols; ++j) words[j] = pairs[j - whole];
    }
    for (Index j = x.cols; j < width; ++j) words[j] = 0;
  }
}

/// Least and greatest of n numbers, 0 of none; NaN as both if any is NaN or infinite.
inline void range_of(const float* x, Index n, float* least, float* most) noexcept {
  Vector low = Vector{} + __builtin_inff();
  Vector high = -low;
  Vector differences{};  // 0, or NaN
  const Index whole = n - n % lanes;
  for (Index p = 0; p < whole; p += lanes) {
    const Vector v = load(x + p);
    differences += v - v;
    low = smaller_of(v, low);
    high = larger_of(v, high);
  }
  float difference = sum_of(differences);
  *least = n == 0 ? 0.0f : __builtin_inff();
  *most = -*least;
  for (Index j = 0; j < lanes; ++j) {
    *least = low[j] < *least ? low[j] : *least;
    *most = high[j] > *most ? high[j] : *most;
  }
  for (Index p = whole; p < n; ++p) {
    difference += x[p] - x[p];
    *least = x[p] < *least ? x[p] : *least;
    *most = x[p] > *most ? x[p] : *most;
  }
  *least += difference;
  *most += difference;
}

/// bytes[p] = the integer nearest to (x[p] - offset) inverse, whose lowest 8 bits are kept; padded
/// to 32 bytes as if by zeros in x.
inline void byte_row(const float* x, Index n, float offset, float inverse, Word* words) noexcept {
  in_pieces<32>(x, n, [=](const float* from, Index p) {
    using EightBytes [[gnu::vector_size(8)]] = std::uint8_t;
    EIGENFORMER_UNROLL
    for (Index part = 0; part < 4; ++part) {
      FloatOctet v;
      __builtin_memcpy(&v, from + 8 * part, sizeof(v));
      const float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
      const auto eight =
          __builtin_convertvector(((Octet)((v - offset) * inverse + round)) & 0xff, EightBytes);
      __builtin_memcpy(words + p / 4 + 2 * part, &eight, sizeof(eight));
    }
  });
}

/// 1 / step, or 0 where all numbers are alike: then the offset alone stands for them.
[[gnu::always_inline]] inline float inverse_of(float step) noexcept {
  return step > 0x1p-126f ? 1.0f / step : 0.0f;
}

/// A row of a left operand of bytes: x = offset + scale u. Both are NaN where x holds NaN or inf.
inline void unsigned_byte_row(const float* x, Index n, Word* words, float* scale,
                              float* offset) noexcept {
  float most = 0;
  range_of(x, n, offset, &most);
  *scale = most / 255.0f - *offset / 255.0f;
  byte_row(x, n, *offset, inverse_of(*scale), words);
}

/// A column of a right operand of bytes: x = scale s with |s| <= 127, and the sum of all s.
inline void signed_byte_row(const float* x, Index n, Word* words, float* scale,
                            float* sum) noexcept {
  float least = 0;
  float most = 0;
  range_of(x, n, &least, &most);
  *scale = (most > -least ? most : -least) / 127.0f;
  byte_row(x, n, 0.0f, inverse_of(*scale), words);
  std::int32_t total = 0;
  for (Index p = 0; p < (n + 3) / 4; ++p) {
    for (int byte = 0; byte < 4; ++byte) {
      total += static_cast<std::int8_t>(words[p] >> (8 * byte));
    }
  }
  *sum = static_cast<float>(total);
}

/// What the tile's left operand of pairs is made of: `planes` rows, `plane` words apart.
inline void left_bfloat16_row(const float* x, Index n, Word* words, Index plane) noexcept {
#if EIGENFORMER_NATIVE_WORDS
  (void)plane;
  in_pieces<16>(x, n, [=](const float* from, Index p) {
    const Vector v = load(from);
    Octet pairs;
    asm("vcvtneps2bf16 %1, %0" : "=v"(pairs) : "v"(v));
    __builtin_memcpy(words + p / 2, &pairs, sizeof(pairs));
  });
#else
  bfloat16_row(x, n, words);
  for (Index p = 0; p < (n + 1) / 2; ++p) {
    words[plane + p] = words[p] & 0xffff0000;
    words[p] <<= 16;
  }
#endif
}

/// The same for bytes.
inline void left_byte_row(const float* x, Index n, Word* words, Index plane, float* scale,
                          float* offset) noexcept {
  unsigned_byte_row(x, n, words, scale, offset);
#if EIGENFORMER_NATIVE_WORDS
  (void)plane;
#else
  for (Index p = 0; p < (n + 3) / 4; ++p) {
    words[plane + p] = (words[p] >> 8) & 0x00ff00ff;
    words[p] &= 0x00ff00ff;
  }
#endif
}
