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
template <int number>
[[gnu::always_inline]] inline void clear_register() noexcept {
  asm volatile("tilezero %%tmm%c0" : : "i"(number));
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

/// The sums of a tile, `[rows][48]`.
template <bool bytes, int row_registers, int columns>
inline void sum_up(const Tile& t, Word* sums) noexcept {
  Shapes shapes;
  const bool few = t.rows < side;  // sums and left operand alone have as few rows
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = static_cast<std::uint8_t>(few && i < 7 ? t.rows : side);
    shapes.row_bytes[i] = side * sizeof(Word);
  }
  asm volatile("ldtilecfg %0" : : "m"(shapes));
  clear_register<0>(), clear_register<1>(), clear_register<2>();
  clear_register<3>(), clear_register<4>(), clear_register<5>();
  const Word* left = t.left;
  const Word* right = t.right;
  const Word* next = t.next;
  for (Index p = 0; p + side <= t.k; p += side) {
    for (Index line = 0; line < t.next_step; ++line) __builtin_prefetch(next + line * side, 0, 2);
    add_block<bytes, row_registers, columns>(left, right, t.right_step);
    left += strip_rows * side;
    right += side * t.right_step;
    next += side * t.next_step;
  }
  if (const Index rest = t.k % side; rest > 0) {  // zeros take the place of what is not there
    Word padded[side * most_columns * side] = {};
    for (Index p = 0; p < rest; ++p) {
      __builtin_memcpy(padded + p * columns * side, right + p * t.right_step,
                       columns * side * sizeof(Word));
    }
    add_block<bytes, row_registers, columns>(left, padded, columns * side);
  }
  constexpr Index step = most_columns * side;
  store_register<0>(sums, step);
  if constexpr (columns > 1) store_register<1>(sums + side, step);
  if constexpr (columns > 2) store_register<2>(sums + 2 * side, step);
  if constexpr (row_registers == 2) {
    Word* const lower = sums + side * step;
    store_register<3>(lower, step);
    if constexpr (columns > 1) store_register<4>(lower + side, step);
    if constexpr (columns > 2) store_register<5>(lower + 2 * side, step);
  }
  asm volatile("tilerelease");
}

template <bool bytes, int row_registers>
inline void sum_up(const Tile& t, Word* sums) noexcept {
  if (t.columns > 2 * side) return sum_up<bytes, row_registers, 3>(t, sums);
  if (t.columns > side) return sum_up<bytes, row_registers, 2>(t, sums);
  return sum_up<bytes, row_registers, 1>(t, sums);
}

template <bool bytes>
inline void multiply_tile(const Tile& t) noexcept {
  alignas(64) Word sums[strip_rows * most_columns * side];
  if (t.rows > side)
    sum_up<bytes, 2>(t, sums);
  else
    sum_up<bytes, 1>(t, sums);
  for (Index i = 0; i < t.rows; ++i) {
    for (Index j = 0; j < t.columns; j += lanes) {
      const Index there = t.columns - j;
      float* const c = t.c + i * t.stride + j;
      const Integers sum = load_words(sums + i * most_columns * side + j);
      Vector result = bytes ? dequantized(t, i, j, sum) : (Vector)sum;
      if (t.accumulate)
        result += load_up_to(c, there);
      else if (t.bias != nullptr)
        result += load_up_to(t.bias + j, there);
      if (!bytes && t.row_scale != nullptr) result *= t.row_scale[i];
      store_up_to(c, result, there);
    }
  }
}

template <bool bytes>
inline constexpr Product product{strip_rows, most_columns* side,  bytes ? 4 : 2, 1,
                                 side,       multiply_tile<bytes>};

}  // namespace amx
