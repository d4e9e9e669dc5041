// Packing: operands in the order in which the tile kernels read them, so that each is one stream.
// A right operand [k, n] becomes panels of 48 columns, word by word along k: [k / group][48]; a
// left one strips of the tile's rows, [k / group][rows], or block by block: [k / group / block]
// [rows][block]. The last panel is as narrow as 16 columns allow, and both are padded with zeros.
// Panels are the same for every instruction set.
#pragma once

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/matrix_view.hpp"
#include "eigenformer/kernels/scratch.hpp"
#include "eigenformer/kernels/weight_memory.hpp"
#include "eigenformer/threading/thread_pool.hpp"

namespace eigenformer::kernels {

namespace detail {

inline constexpr Index panel_columns = 48;
inline constexpr Index column_unit = 16;  ///< columns are padded to a multiple of it

[[nodiscard]] constexpr Index divided_up(Index n, Index by) noexcept { return (n + by - 1) / by; }
[[nodiscard]] constexpr Index rounded_up(Index n, Index by) noexcept {
  return divided_up(n, by) * by;
}

[[nodiscard]] inline const Word* words_of(const float* numbers) noexcept {
  return reinterpret_cast<const Word*>(numbers);  // kernels read them by memcpy
}

/// An operand of floats as the kernel sees it: vectors of length k, `across` apart.
struct Strided {
  const float* data;
  Index count;  ///< rows of the left, or columns of the right operand
  Index k;
  Index across;  ///< elements from one vector to the next
  Index along;   ///< elements from one k to the next

  /// Packs vectors first .. first + width as [k][width], zeros where there are no more.
  void pack(Index first, Index width, Word* out) const noexcept {
    const Index there = std::min(width, count - first);
    const float* from = data + first * across;
    if (along == 1) {
      for (Index i = 0; i < width; i += 8) {
        active_kernels().pack_words(words_of(from + i * across), across,
                                    std::clamp<Index>(there - i, 0, 8), std::min<Index>(width, 8),
                                    k, out + i, width);
      }
      return;
    }
    for (Index p = 0; p < k; ++p, out += width) {
      if (across == 1 && there == panel_columns) {  // sizes that the compiler knows
        __builtin_memcpy(out, from + p * along, panel_columns * sizeof(Word));
      } else if (across == 1 && there == 8) {
        __builtin_memcpy(out, from + p * along, 8 * sizeof(Word));
      } else if (across == 1) {
        __builtin_memcpy(out, from + p * along, static_cast<std::size_t>(there) * sizeof(Word));
      } else {
        for (Index i = 0; i < there; ++i) {
          __builtin_memcpy(out + i, from + p * along + i * across, sizeof(Word));
        }
      }
      std::fill(out + there, out + width, Word{0});
    }
  }
};

}  // namespace detail

/// Whether linear layers of the scalar take packed weights.
template <class Scalar>
inline constexpr bool uses_packed_weights = std::is_same_v<Scalar, float>;

/// The weights `[out, in]` of a linear layer as panels of words, in memory of their own or in
/// memory that somebody else keeps, such as a mapped file.
class PackedWeight {
 public:
  /// Packs on all threads. `input_scale` `[in]`, for int8 alone and unless null: what the inputs
  /// are divided by and the weights multiplied with before they are rounded.
  PackedWeight(ThreadPool& pool, Precision precision, MatrixView<const float> weight,
               const float* input_scale = nullptr)
      : PackedWeight(precision, weight.rows, weight.cols, input_scale != nullptr) {
    std::shared_ptr<Word> memory = weight_memory(size_in_words());
    Word* const words = memory.get();
    words_ = words;
    owner_ = std::move(memory);
    auto* const numbers = reinterpret_cast<float*>(words + padded() * steps_);
    if (input_scale != nullptr) {
      for (Index p = 0; p < multipliers(); ++p) {
        const bool none = p >= in_ || input_scale[p] == 0;
        numbers[2 * padded() + p] = none ? 0.0f : 1.0f / input_scale[p];
      }
    }
    parallel_for(pool, panels(), 1, [&](Index begin, Index end) {
      for (Index panel = begin; panel < end; ++panel) {
        pack_panel(panel, weight, input_scale, words + panel * detail::panel_columns * steps_,
                   numbers);
      }
    });
  }

  /// `size_in_words()` words that `owner` keeps, aligned to 64 bytes.
  PackedWeight(Precision precision, Index out, Index in, bool scales_inputs, const Word* words,
               std::shared_ptr<const void> owner)
      : PackedWeight(precision, out, in, scales_inputs) {
    words_ = words;
    owner_ = std::move(owner);
  }

  /// How the numbers are stored.
  [[nodiscard]] Precision precision() const noexcept { return precision_; }
  /// Rows of the weight: features that come out.
  [[nodiscard]] Index out() const noexcept { return out_; }
  /// Columns of the weight: features that go in.
  [[nodiscard]] Index in() const noexcept { return in_; }
  /// Whether inputs are multiplied with input_multiplier() first.
  [[nodiscard]] bool scales_inputs() const noexcept { return scales_inputs_; }
  /// The panels, one after the other, and the numbers of int8 after them.
  [[nodiscard]] const Word* words() const noexcept { return words_; }
  /// A multiple of 16: packs may lie one after the other.
  [[nodiscard]] Index size_in_words() const noexcept {
    const Index numbers = precision_ == Precision::int8 ? 2 * padded() : 0;
    return padded() * steps_ + numbers + multipliers();
  }

  /// Steps along k, of one word for each column.
  [[nodiscard]] Index steps() const noexcept { return steps_; }
  /// How many panels there are.
  [[nodiscard]] Index panels() const noexcept {
    return detail::divided_up(out_, detail::panel_columns);
  }
  /// Words of a panel in each step.
  [[nodiscard]] Index width(Index panel) const noexcept {
    return std::min(detail::panel_columns, padded() - panel * detail::panel_columns);
  }
  /// For int8, what the bytes of each column are multiplied with, `[out]` and zeros.
  [[nodiscard]] const float* column_scale() const noexcept { return numbers(); }
  /// For int8, the sum of the bytes of each column, `[out]` and zeros.
  [[nodiscard]] const float* column_sum() const noexcept { return numbers() + padded(); }
  /// For int8, what the inputs `[in]` are multiplied with before they are rounded, or null.
  [[nodiscard]] const float* input_multiplier() const noexcept {
    return scales_inputs_ ? numbers() + 2 * padded() : nullptr;
  }

 private:
  PackedWeight(Precision precision, Index out, Index in, bool scales_inputs)
      : precision_(precision),
        scales_inputs_(scales_inputs),
        out_(out),
        in_(in),
        steps_(detail::divided_up(in, active_kernels().product(precision).group)) {}

  [[nodiscard]] Index padded() const noexcept {
    return detail::rounded_up(out_, detail::column_unit);
  }
  [[nodiscard]] Index multipliers() const noexcept {
    return scales_inputs_ ? detail::rounded_up(in_, detail::column_unit) : 0;
  }
  [[nodiscard]] const float* numbers() const noexcept {
    return reinterpret_cast<const float*>(words_ + padded() * steps_);
  }

  void pack_panel(Index panel, MatrixView<const float> weight, const float* input_scale,
                  Word* words, float* numbers) const {
    const Kernels& kernels = active_kernels();
    const Index stride = detail::rounded_up(steps_, 8);
    for (Index i = 0; i < width(panel); i += 8) {
      const Index first = panel * detail::panel_columns + i;
      const Index rows = std::clamp<Index>(out_ - first, 0, 8);
      if (precision_ == Precision::full) {
        kernels.pack_words(detail::words_of(weight.row(std::min(first, out_ - 1))), weight.stride,
                           rows, 8, steps_, words + i, width(panel));
        continue;
      }
      Word* const converted = detail::scratch<Word, detail::Scratch::rows>(8 * stride);
      float* const scaled = detail::scratch<float, detail::Scratch::scaled_row>(in_);
      for (Index j = 0; j < rows; ++j) {
        const float* row = weight.row(first + j);
        if (precision_ == Precision::bf16) {
          kernels.bfloat16_row(row, in_, converted + j * stride);
          continue;
        }
        if (input_scale != nullptr) {
          kernels.multiply(row, input_scale, scaled, in_);
          row = scaled;
        }
        kernels.signed_byte_row(row, in_, converted + j * stride, numbers + first + j,
                                numbers + padded() + first + j);
      }
      kernels.pack_words(converted, stride, rows, 8, steps_, words + i, width(panel));
      for (Index j = rows; j < 8 && precision_ == Precision::int8; ++j) {
        numbers[first + j] = numbers[padded() + first + j] = 0;
      }
    }
  }

  Precision precision_;
  bool scales_inputs_;
  Index out_;
  Index in_;
  Index steps_;
  std::shared_ptr<const void> owner_;
  const Word* words_ = nullptr;
};

namespace detail {

/// A left operand in strips, in scratch memory of the thread that packed it.
struct PackedRows {
  const Word* words = nullptr;
  const float* scale = nullptr;   ///< `[rows]`, bytes alone
  const float* offset = nullptr;  ///< the same
};

/// Calls f(begin, end) on ranges of 0..n; without a pool on all of them at once.
template <class Function>
void on_ranges(ThreadPool* pool, Index n, Index grain, Function&& f) {
  if (pool == nullptr)
    f(Index{0}, n);
  else
    parallel_for(*pool, n, grain, f);
}

/// Floats of any layout as a left operand.
[[nodiscard]] inline PackedRows pack_left(ThreadPool* pool, const Strided& from) {
  const Index height = active_kernels().float_product.rows;
  const Index strips = divided_up(from.count, height);
  Word* const words = scratch<Word, Scratch::left>(strips * height * from.k);
  on_ranges(pool, strips, 8, [&](Index begin, Index end) {
    for (Index strip = begin; strip < end; ++strip) {
      from.pack(strip * height, height, words + strip * height * from.k);
    }
  });
  return {words};
}

/// Converted rows as a strip: row i begins at `converted + i * stride`, each plane `plane` words
/// after the one before.
inline void pack_strip(const Kernels& kernels, const Product& how, const Word* converted,
                       Index stride, Index plane, Index rows, Index steps, Word* strip) noexcept {
  if (how.block == 1) {
    for (Index i = 0; i < how.planes; ++i) {
      kernels.pack_words(converted + i * plane, stride, rows, how.rows, steps, strip + i * how.rows,
                         how.planes * how.rows);
    }
    return;
  }
  for (Index p = 0; p < steps; p += how.block, strip += how.rows * how.block) {
    const Index there = std::min(how.block, steps - p);
    for (Index i = 0; i < rows; ++i) {
      Word* const block = strip + i * how.block;
      std::copy_n(converted + i * stride + p, there, block);
      std::fill(block + there, block + how.block, Word{0});
    }
  }
}

/// Rows x `[m, k]` as the left operand of a product with `weight`.
[[nodiscard]] inline PackedRows pack_left(ThreadPool* pool, const PackedWeight& weight,
                                          MatrixView<const float> x) {
  if (weight.precision() == Precision::full) {
    return pack_left(pool, Strided{x.data, x.rows, x.cols, x.stride, 1});
  }
  const Kernels& kernels = active_kernels();
  const Product& how = kernels.product(weight.precision());
  const Index strips = divided_up(x.rows, how.rows);
  const Index strip_size = how.planes * how.rows * rounded_up(weight.steps(), how.block);
  Word* const words = scratch<Word, Scratch::left>(strips * strip_size);
  const bool bytes = weight.precision() == Precision::int8;
  float* const scale = bytes ? scratch<float, Scratch::row_scale>(2 * x.rows) : nullptr;
  float* const offset = bytes ? scale + x.rows : nullptr;
  on_ranges(pool, strips, 4, [&](Index begin, Index end) {
    const Index stride = rounded_up(weight.steps(), 8);
    const Index plane = how.rows * stride;
    Word* const converted = scratch<Word, Scratch::rows>(how.planes * plane);
    float* const scaled = scratch<float, Scratch::scaled_row>(x.cols);
    for (Index strip = begin; strip < end; ++strip) {
      const Index first = strip * how.rows;
      const Index rows = std::min(how.rows, x.rows - first);
      for (Index i = 0; i < rows; ++i) {
        const float* row = x.row(first + i);
        if (weight.precision() == Precision::bf16) {
          kernels.left_bfloat16_row(row, x.cols, converted + i * stride, plane);
          continue;
        }
        if (const float* multiplier = weight.input_multiplier(); multiplier != nullptr) {
          kernels.multiply(row, multiplier, scaled, x.cols);
          row = scaled;
        }
        kernels.left_byte_row(row, x.cols, converted + i * stride, plane, scale + first + i,
                              offset + first + i);
      }
      pack_strip(kernels, how, converted, stride, plane, rows, weight.steps(),
                 words + strip * strip_size);
    }
  });
  return {words, scale, offset};
}

}  // namespace detail
}  // namespace eigenformer::kernels
