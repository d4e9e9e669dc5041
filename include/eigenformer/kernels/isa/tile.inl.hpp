// Tiles of products, written once over vectors and kinds of arithmetic. No guard: see
// vector.inl.hpp.
//
// Operands are sequences of 32-bit words: one float, two bfloat16 or four 8-bit integers that
// follow each other along k. The left operand is read one word for each row, the right one a vector
// of words, one for each column. An arithmetic says how words multiply:
//   Sum           what is summed up, one number for each column
//   left_words    words that a step reads for each row, in planes
//   most_vectors  in a tile, so that all stays in registers
//   left, right   one step's operands, ready to multiply; left for one row of `left_rows`
//   add_product   sum += left right

/// Rows whose left words are loaded at once, so that they do not take the registers of sums.
#if defined(__x86_64__)
inline constexpr int left_rows = 1;
#else
inline constexpr int left_rows = 4;

/// Number i of v in all lanes: NEON multiplies by it where it is.
template <class V>
[[gnu::always_inline]] inline V broadcast(V v, int i) noexcept {
  switch (i) {
    case 0: return __builtin_shufflevector(v, v, 0, 0, 0, 0);
    case 1: return __builtin_shufflevector(v, v, 1, 1, 1, 1);
    case 2: return __builtin_shufflevector(v, v, 2, 2, 2, 2);
    default: return __builtin_shufflevector(v, v, 3, 3, 3, 3);
  }
}
#endif

/// One float in a word.
struct FloatWords {
  using Sum = Vector;
  using Right = Vector;
  static constexpr Index group = 1;
  static constexpr Index left_words = 1;
  static constexpr int most_vectors = tile_vectors;
#if defined(__x86_64__)
  using Left = float;
  [[gnu::always_inline]] static Left left(const Word* a, Index, int) noexcept {
    Left x;
    __builtin_memcpy(&x, a, sizeof(x));
    return x;
  }
#else
  using Left = Vector;
  [[gnu::always_inline]] static Left left(const Word* a, Index, int row) noexcept {
    return broadcast(right(a), row);
  }
#endif
  [[gnu::always_inline]] static Right right(const Word* b) noexcept {
    Right r;
    __builtin_memcpy(&r, b, sizeof(r));
    return r;
  }
  [[gnu::always_inline]] static void add_product(Sum& sum, Left left, Right right) noexcept {
    sum += left * right;
  }
};

[[gnu::always_inline]] inline Integers load_words(const Word* from) noexcept {
  Integers v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

#if EIGENFORMER_NATIVE_WORDS

/// Words that one instruction multiplies, and adds to the sums.
struct NativeWords {
  using Right = Integers;
  static constexpr Index left_words = 1;
  static constexpr int most_vectors = tile_vectors;
  [[gnu::always_inline]] static Integers left(const Word* a, Index, int) noexcept {
    return Integers{} + static_cast<std::int32_t>(*a);
  }
  [[gnu::always_inline]] static Right right(const Word* b) noexcept { return load_words(b); }
};

/// Two bfloat16 in a word.
struct BFloat16Words : NativeWords {
  using Sum = Vector;
  static constexpr Index group = 2;
  [[gnu::always_inline]] static void add_product(Sum& sum, Integers left, Right right) noexcept {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  }
};

/// Four bytes in a word, unsigned on the left and signed on the right.
struct ByteWords : NativeWords {
  using Sum = Integers;
  static constexpr Index group = 4;
  // Not the intrinsic: GCC 12 moves every sum to the stack and back round it.
  [[gnu::always_inline]] static void add_product(Sum& sum, Integers left, Right right) noexcept {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
  }
};

#else

/// Two bfloat16 in a word on the right; on the left two floats that hold bfloat16.
struct BFloat16Words {
  using Sum = Vector;
  struct Pair {
    Vector even, odd;
  };
  struct LeftPair {
    FloatWords::Left even, odd;
  };
  using Right = Pair;
  static constexpr Index group = 2;
  static constexpr Index left_words = 2;
  static constexpr int most_vectors = 2;
  [[gnu::always_inline]] static LeftPair left(const Word* a, Index plane, int row) noexcept {
    return {FloatWords::left(a, plane, row), FloatWords::left(a + plane, plane, row)};
  }
  [[gnu::always_inline]] static Right right(const Word* b) noexcept {
    const Integers words = load_words(b);
    return {(Vector)(words << 16), (Vector)(words & static_cast<std::int32_t>(0xffff0000))};
  }
  [[gnu::always_inline]] static void add_product(Sum& sum, LeftPair left,
                                                 const Right& right) noexcept {
    sum += left.even * right.even;
    sum += left.odd * right.odd;
  }
};

/// Four bytes in a word on the right; on the left two words, each of two 16-bit integers: the even
/// bytes and the odd ones. All products are exact, with nothing to saturate.
struct ByteWords {
  using Sum = Integers;
  static constexpr Index group = 4;
  static constexpr Index left_words = 2;
  static constexpr int most_vectors = 2;
#if defined(__x86_64__)
  using Shorts [[gnu::vector_size(EIGENFORMER_VECTOR_BYTES)]] = std::int16_t;
  struct Pair {
    Shorts even, odd;
  };
  using Right = Pair;
  [[gnu::always_inline]] static Pair left(const Word* a, Index plane, int) noexcept {
    return {(Shorts)(Integers{} + static_cast<std::int32_t>(a[0])),
            (Shorts)(Integers{} + static_cast<std::int32_t>(a[plane]))};
  }
  [[gnu::always_inline]] static Right right(const Word* b) noexcept {
    const auto bytes = (Shorts)load_words(b);
    return {(Shorts)(bytes << 8) >> 8, bytes >> 8};
  }
  /// In each word the sum of the products of both halves.
  [[gnu::always_inline]] static Integers multiply_halves(Shorts a, Shorts b) noexcept {
#if EIGENFORMER_VECTOR_BYTES == 32
    return (Integers)__builtin_ia32_pmaddwd256(a, b);
#else
    return (Integers)__builtin_ia32_pmaddwd128(a, b);
#endif
  }
  [[gnu::always_inline]] static void add_product(Sum& sum, const Pair& left,
                                                 const Right& right) noexcept {
    sum += multiply_halves(left.even, right.even) + multiply_halves(left.odd, right.odd);
  }
#else
  struct Right {
    Integers bytes[4];
  };
  [[gnu::always_inline]] static Right left(const Word* a, Index plane, int row) noexcept {
    const Integers even = load_words(a);
    const Integers odd = load_words(a + plane);
    return {{broadcast(even & 0xffff, row), broadcast(odd & 0xffff, row),
             broadcast(even >> 16, row), broadcast(odd >> 16, row)}};
  }
  [[gnu::always_inline]] static Right right(const Word* b) noexcept {
    const Integers words = load_words(b);
    return {{(words << 24) >> 24, (words << 16) >> 24, (words << 8) >> 24, words >> 24}};
  }
  [[gnu::always_inline]] static void add_product(Sum& sum, const Right& left,
                                                 const Right& right) noexcept {
    EIGENFORMER_UNROLL
    for (int i = 0; i < 4; ++i) sum += left.bytes[i] * right.bytes[i];
  }
#endif
};

#endif

/// The products of numbers whose bytes' products in row i and the columns from j on sum up to
/// `sum`.
[[gnu::always_inline]] inline Vector dequantized(const Tile& t, Index i, Index j,
                                                 Integers sum) noexcept {
  // x = row offset + row scale u and w = column scale s, so the sum over k of x w is:
  return (__builtin_convertvector(sum, Vector) * t.row_scale[i] +
          load(t.column_sum + j) * t.row_offset[i]) *
         load(t.column_scale + j);
}

/// A row that will be written comes nearer while sums are made, line by line.
[[gnu::always_inline]] inline void bring_result_nearer(const Tile& t, Index row) noexcept {
  if (row >= t.rows) return;
  for (Index j = 0; j < t.columns; j += 16) __builtin_prefetch(t.c + row * t.stride + j, 1);
}

/// Adds the products of all steps of a tile; its steps are arguments, so that the compiler may know
/// them.
template <class Arithmetic, int rows, int vectors>
[[gnu::always_inline]] inline void add_products(
    const Tile& t, Index left_step, Index right_step,
    typename Arithmetic::Sum (&sums)[rows][vectors]) noexcept {
  const Index plane = left_step / Arithmetic::left_words;
  const Word* a = t.left;
  const Word* b = t.right;
  const Index stream = t.k / next_streams * t.next_step;
  const Word* first_next = t.next;
  for (Index p = 0; p < t.k; p += next_streams, first_next += t.next_step) {
    bring_result_nearer(t, p / next_streams);
    const Word* next = first_next;
    for (Index left_over = t.k - p < next_streams ? t.k - p : next_streams; left_over > 0;
         --left_over, next += stream) {
      typename Arithmetic::Right right[vectors];
      EIGENFORMER_UNROLL
      for (int v = 0; v < vectors; ++v) {
        right[v] = Arithmetic::right(b + v * lanes);
        __builtin_prefetch(next + v * (t.next_step / vectors), 0, 2);
      }
      EIGENFORMER_UNROLL
      for (int i = 0; i < rows; ++i) {
        const auto left =
            Arithmetic::left(a + Index{i} / left_rows * left_rows, plane, i % left_rows);
        EIGENFORMER_UNROLL
        for (int v = 0; v < vectors; ++v) Arithmetic::add_product(sums[i][v], left, right[v]);
      }
      a += left_step;
      b += right_step;
    }
  }
}

/// The tile of `rows` x `vectors` whole vectors. All its sums stay in registers.
template <class Arithmetic, int rows, int vectors>
inline void tile_of_size(const Tile& t) noexcept {
  using Sum = typename Arithmetic::Sum;
  constexpr bool is_float = __is_same(Sum, Vector);
  // Where vectors are narrow, a step is so short that the additions for the next one count.
  constexpr bool knows_steps = !EIGENFORMER_NATIVE_WORDS && rows == tile_rows;
  constexpr Index strip_step = tile_rows * Arithmetic::left_words;
  Sum sums[rows][vectors] = {};
  if (knows_steps && t.left_step == strip_step && t.right_step == panel_columns)
    add_products<Arithmetic>(t, strip_step, panel_columns, sums);
  else
    add_products<Arithmetic>(t, t.left_step, t.right_step, sums);
  const float* from = t.accumulate ? t.c : t.bias;
  const Index step = t.accumulate ? t.stride : 0;
  EIGENFORMER_UNROLL
  for (int i = 0; i < rows; ++i) {
    if (i >= t.rows) break;
    EIGENFORMER_UNROLL
    for (int v = 0; v < vectors; ++v) {
      Vector result;
      if constexpr (is_float) {
        result = sums[i][v];
        if (from != nullptr) result += load(from + i * step + v * lanes);
        if (t.row_scale != nullptr) result *= t.row_scale[i];
      } else {
        result = dequantized(t, i, v * lanes, sums[i][v]);
        if (t.bias != nullptr) result += load(t.bias + v * lanes);
      }
      store(t.c + i * t.stride + v * lanes, result);
    }
  }
}

/// A tile whose last vector is not whole, in memory of its own that is as large as any tile.
template <Index most_rows, Index most_columns>
[[gnu::noinline]] inline void multiply_in_whole_vectors(
    const Tile& t, void (*tile)(const Tile&) noexcept) noexcept {
  float c[most_rows * most_columns];
  float bias[most_columns] = {};
  Tile whole = t;
  whole.c = c;
  whole.stride = most_columns;
  whole.columns = (t.columns + lanes - 1) / lanes * lanes;
  const auto bytes = static_cast<std::size_t>(t.columns) * sizeof(float);
  if (t.bias != nullptr) whole.bias = bias, __builtin_memcpy(bias, t.bias, bytes);
  for (Index i = 0; i < t.rows && t.accumulate; ++i) {
    __builtin_memcpy(c + i * whole.stride, t.c + i * t.stride, bytes);
  }
  tile(whole);
  for (Index i = 0; i < t.rows; ++i) {
    __builtin_memcpy(t.c + i * t.stride, c + i * whole.stride, bytes);
  }
}

/// The smallest tile that covers what is there.
template <class Arithmetic>
inline void multiply_tile(const Tile& t) noexcept {
  if (t.columns % lanes != 0) {
    return multiply_in_whole_vectors<tile_rows, tile_vectors * lanes>(t, multiply_tile<Arithmetic>);
  }
  constexpr int vectors = Arithmetic::most_vectors;
  if (t.columns == vectors * lanes) {
    if (t.rows <= tile_rows / 4) return tile_of_size<Arithmetic, tile_rows / 4, vectors>(t);
    if (t.rows <= tile_rows / 2) return tile_of_size<Arithmetic, tile_rows / 2, vectors>(t);
    return tile_of_size<Arithmetic, tile_rows, vectors>(t);
  }
  if constexpr (vectors > 2) {
    if (t.columns == 2 * lanes) return tile_of_size<Arithmetic, tile_rows, 2>(t);
  }
  return tile_of_size<Arithmetic, tile_rows, 1>(t);
}

#if EIGENFORMER_NATIVE_WORDS

/// Columns from j on of a row, without bias.
[[gnu::always_inline]] inline Vector finished(const Tile&, Index, Vector sum) noexcept {
  return sum;
}
[[gnu::always_inline]] inline Vector finished(const Tile& t, Index j, Integers sum) noexcept {
  return dequantized(t, 0, j, sum);
}

/// One row and `panels` panels, of which those beyond the columns repeat the first: so many streams
/// of memory, each as long as a panel, which arrive faster than one after the other.
template <class Arithmetic, int panels, int vectors>
inline void row_of_size(const Tile& t) noexcept {
  constexpr Index steps_ahead = 8;  // what slow arithmetic waits for
  typename Arithmetic::Sum sums[panels][vectors] = {};
  const Word* right[panels];
  for (Index i = 0; i < panels; ++i) {
    right[i] = t.right + (i * vectors * lanes < t.columns ? i : 0) * t.panel_step;
  }
  for (Index p = 0, offset = 0; p < t.k; ++p, offset += t.right_step) {
    const auto left = Arithmetic::left(t.left + p, 0, 0);
    EIGENFORMER_UNROLL
    for (int i = 0; i < panels; ++i) {
      EIGENFORMER_UNROLL
      for (int v = 0; v < vectors; ++v) {
        const Word* const from = right[i] + offset + v * lanes;
        __builtin_prefetch(from + steps_ahead * vectors * lanes);
        Arithmetic::add_product(sums[i][v], left, Arithmetic::right(from));
      }
    }
  }
  const float* const from = t.accumulate ? t.c : t.bias;
  EIGENFORMER_UNROLL
  for (int i = 0; i < panels * vectors; ++i) {
    const Index j = i * lanes;
    if (j >= t.columns) return;
    Vector result = finished(t, j, sums[i / vectors][i % vectors]);
    if (from != nullptr) result += load_up_to(from + j, t.columns - j);
    store_up_to(t.c + j, result, t.columns - j);
  }
}

/// One row and `panels` whole panels, or one that is narrower.
template <class Arithmetic, int panels>
inline void multiply_row(const Tile& t) noexcept {
  if (t.right_step == tile_vectors * lanes) return row_of_size<Arithmetic, panels, tile_vectors>(t);
  for (Tile one = t; one.columns > 0; one.columns -= lanes) {
    row_of_size<Arithmetic, 1, 1>(one);
    one.right += lanes;
    one.c += lanes;
    if (t.bias != nullptr) one.bias += lanes;
    if (t.column_scale != nullptr) one.column_scale += lanes, one.column_sum += lanes;
  }
}

inline constexpr int row_panels = 8;

#endif
