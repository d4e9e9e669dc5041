// Tiles of products on Intel's matrix unit (AMX), whose registers, also called tiles, hold 16 rows
// of 64 bytes: sum[16][16] += left[16][16 words] right[16 words][16]. No guard: see
// vector.inl.hpp.
//
// A left operand's strip is [k / 16][rows][16]: one register after the other.

namespace amx {

inline constexpr Index side = 16;  ///< rows of a register, and words in each
inline constexpr Index strip_rows = 2 * side;
inline constexpr Index most_columns = 3;  ///< registers of sums beside each other

/// What ldtilecfg reads: the shape of each register.
struct alignas(64) Shapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

template <int number>
[[gnu::always_inline]] inline void load_register(const Word* from, Index step) noexcept {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0"
               :
               : "i"(number), "r"(from), "r"(step * static_cast<Index>(sizeof(Word)))
               : "memory");
}
template <int number>
[[gnu::always_inline]] inline void store_register(Word* to, Index step) noexcept {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)"
               :
               : "i"(number), "r"(to), "r"(step * static_cast<Index>(sizeof(Word)))
               : "memory");
}
template <bool bytes, int sum, int left, int right>
[[gnu::always_inline]] inline void add_product() noexcept {
  if constexpr (bytes)
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(left), "i"(right));
  else
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(left), "i"(right));
}

/// One block of 16 words. Registers 0 to 2 sum up the upper rows, 3 to 5 the lower ones; 6 and 7
/// are the operands, which change one at a time.
template <bool bytes, int row_registers, int columns>
[[gnu::always_inline]] inline void add_block(const Word* left, const Word* right,
                                             Index right_step) noexcept {
  const Word* const lower = left + side * side;
  load_register<6>(left, side);
  load_register<7>(right, right_step);
  add_product<bytes, 0, 6, 7>();
  if constexpr (row_registers == 2) {
    load_register<6>(lower, side);
    add_product<bytes, 3, 6, 7>();
  }
  if constexpr (columns > 1) {
    load_register<7>(right + side, right_step);
    if constexpr (row_registers == 2) {
      add_product<bytes, 4, 6, 7>();
      load_register<6>(left, side);
    }
    add_product<bytes, 1, 6, 7>();
  }
  if constexpr (columns > 2) {
    load_register<7>(right + 2 * side, right_step);
    add_product<bytes, 2, 6, 7>();
    if constexpr (row_registers == 2) {
      load_register<6>(lower, side);
      add_product<bytes, 5, 6, 7>();
    }
  }
}

/// Calls f<number>(row, column) for each register of sums.
template <int row_registers, int columns, class Function>
[[gnu::always_inline]] inline void for_each_sum(Function&& f) noexcept {
  f.template operator()<0>(0, 0);
  if constexpr (columns > 1) f.template operator()<1>(0, side);
  if constexpr (columns > 2) f.template operator()<2>(0, 2 * side);
  if constexpr (row_registers > 1) {
    f.template operator()<3>(side, 0);
    if constexpr (columns > 1) f.template operator()<4>(side, side);
    if constexpr (columns > 2) f.template operator()<5>(side, 2 * side);
  }
}

/// The sums of a tile, `step` words from row to row, begin as the words at `from`, unless that is
/// null, with `from_step` words from row to row. With two row registers the tile is whole.
template <bool bytes, int row_registers, int columns>
inline void sum_up(const Tile& t, const Word* from, Index from_step, Word* sums,
                   Index step) noexcept {
  Shapes shapes;
  const bool few = t.rows < side;  // sums and left operand alone have as few rows
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = static_cast<std::uint8_t>(few && i < 7 ? t.rows : side);
    shapes.row_bytes[i] = side * sizeof(Word);
  }
  asm volatile("ldtilecfg %0" : : "m"(shapes));  // all registers are zero now
  if (from != nullptr) {
    for_each_sum<row_registers, columns>([&]<int number>(Index row, Index column) {
      load_register<number>(from + row * from_step + column, from_step);
    });
  }
  const Word* left = t.left;
  const Word* right = t.right;
  const Index stream = t.k / side * side / next_streams * t.next_step;
  Index line = 0;  // of what is brought nearer
  for (Index p = 0; p + side <= t.k; p += side) {
    for (Index i = 0; i < t.next_step; ++i, ++line) {
      __builtin_prefetch(t.next + line % next_streams * stream + line / next_streams * side, 0, 2);
    }
    bring_result_nearer(t, p / side * 2);
    bring_result_nearer(t, p / side * 2 + 1);
    add_block<bytes, row_registers, columns>(left, right, t.right_step);
    left += strip_rows * side;
    right += side * t.right_step;
  }
  if (const Index rest = t.k % side; rest > 0) {  // zeros take the place of what is not there
    Word padded[side * most_columns * side] = {};
    for (Index p = 0; p < rest; ++p) {
      __builtin_memcpy(padded + p * columns * side, right + p * t.right_step,
                       columns * side * sizeof(Word));
    }
    add_block<bytes, row_registers, columns>(left, padded, columns * side);
  }
  for_each_sum<row_registers, columns>([&]<int number>(Index row, Index column) {
    store_register<number>(sums + row * step + column, step);
  });
  asm volatile("tilerelease");
}

template <bool bytes, int row_registers, int columns>
inline void multiply_rows(const Tile& t) noexcept {
  if constexpr (!bytes) {  // in c itself; a bias is read as rows that are no step apart
    auto* const c = reinterpret_cast<Word*>(t.c);
    if (t.accumulate) return sum_up<bytes, row_registers, columns>(t, c, t.stride, c, t.stride);
    const auto* const bias = reinterpret_cast<const Word*>(t.bias);
    return sum_up<bytes, row_registers, columns>(t, bias, 0, c, t.stride);
  }
  constexpr Index step = columns * side;
  alignas(64) Word sums[row_registers * side * step];
  sum_up<bytes, row_registers, columns>(t, nullptr, 0, sums, step);
  for (Index i = 0; i < t.rows; ++i) {
    for (Index j = 0; j < step; j += lanes) {
      Vector result = dequantized(t, i, j, load_words(sums + i * step + j));
      if (t.bias != nullptr) result += load(t.bias + j);
      store(t.c + i * t.stride + j, result);
    }
  }
}

template <bool bytes, int columns>
inline void multiply_columns(const Tile& t) noexcept {
  if (t.rows == strip_rows) return multiply_rows<bytes, 2, columns>(t);
  Tile half = t;
  half.rows = t.rows < side ? t.rows : side;
  multiply_rows<bytes, 1, columns>(half);
  if (t.rows <= side) return;
  half.rows = t.rows - side;
  half.left += side * side;
  half.c += side * t.stride;
  if (bytes) half.row_scale += side, half.row_offset += side;
  multiply_rows<bytes, 1, columns>(half);
}

template <bool bytes>
inline void multiply_tile(const Tile& t) noexcept {
  if (t.columns % lanes != 0) {
    return multiply_in_whole_vectors<strip_rows, most_columns * side>(t, multiply_tile<bytes>);
  }
  if (t.columns > 2 * side) return multiply_columns<bytes, 3>(t);
  if (t.columns > side) return multiply_columns<bytes, 2>(t);
  return multiply_columns<bytes, 1>(t);
}

/// Two bfloat16 in a word, summed up as the matrix unit does: the even ones and the odd ones.
struct Halves {
  struct Sum {
    Vector even, odd;
  };
  [[gnu::always_inline]] static Sum halves_of(Integers words) noexcept {
    return {(Vector)(words << 16), (Vector)(words & static_cast<std::int32_t>(0xffff0000))};
  }
  [[gnu::always_inline]] static Sum left(const Word* a, Index, int) noexcept {
    return halves_of(Integers{} + static_cast<std::int32_t>(*a));
  }
  [[gnu::always_inline]] static Sum right(const Word* b) noexcept {
    return halves_of(load_words(b));
  }
  // Rounded once, however the compiler is told to round.
  [[gnu::always_inline]] static void add_product(Sum& sum, const Sum& left,
                                                 const Sum& right) noexcept {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum.even) : "v"(left.even), "v"(right.even));
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum.odd) : "v"(left.odd), "v"(right.odd));
  }
};
[[gnu::always_inline]] inline Vector finished(const Tile&, Index, const Halves::Sum& sum) noexcept {
  return sum.even + sum.odd;
}

inline constexpr int panels_of_halves = 4;

/// A row of bfloat16 by vectors, block by block: the same sums as the matrix unit's, but memory
/// comes in more streams.
inline void multiply_row_of_halves(const Tile& t) noexcept {
  unsigned state = 0;
  asm volatile("stmxcsr %0" : "=m"(state) : : "memory");
  const unsigned no_subnormals = state | 0x8040;  // the unit reads and writes them as 0
  asm volatile("ldmxcsr %0" : : "m"(no_subnormals) : "memory");
  Tile block = t;
  for (Index p = 0; p == 0 || p < t.k; p += side) {
    block.k = t.k - p < side ? t.k - p : side;
    multiply_row<Halves, panels_of_halves>(block);
    block.left += block.k;
    block.right += block.k * t.right_step;
    block.accumulate = true;
  }
  asm volatile("ldmxcsr %0" : : "m"(state) : "memory");
}

/// Sums of bytes are exact: a row of them is what vectors make it.
template <bool bytes>
inline constexpr Product product{
    strip_rows,
    most_columns* side,
    bytes ? 4 : 2,
    1,
    side,
    multiply_tile<bytes>,
    bytes ? multiply_row<ByteWords, row_panels> : multiply_row_of_halves,
    bytes ? row_panels : panels_of_halves};

}  // namespace amx
