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

inline constexpr Index column_unit = 16;  ///< columns are padded to a multiple of it

[[nodiscard]] constexpr Index divided_up(Index n, Index by) noexcept { return (n + by - 1) / by; }
[[nodiscard]] constexpr Index rounded_up(Index n, Index by) noexcept {
  return divided_up(n, by) * by;
}

/// Words of a strip of a left operand with so many steps.
[[nodiscard]] inline Index strip_size(const Product& how, Index steps) noexcept {
  return how.planes * how.rows * rounded_up(steps, how.block);
}

[[nodiscard]] inline const Word* words_of(const float* numbers) noexcept {
  return reinterpret_cast<const Word*>(numbers);  // kernels read them by memcpy
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
      const Word* const row = converted + i * stride + p;
      Word* const block = strip + i * how.block;
      if (there == 16) {  // known to the compiler
        std::copy_n(row, 16, block);
      } else {
        std::copy_n(row, there, block);
        std::fill(block + there, block + how.block, Word{0});
      }
    }
  }
}

/// An operand of floats as the kernel sees it: vectors of length k, `across` apart. Either their
/// numbers follow each other, or the vectors do.
struct Strided {
  const float* data;
  Index count;  ///< rows of the left, or columns of the right operand
  Index k;
  Index across;  ///< elements from one vector to the next
  Index along;   ///< elements from one k to the next

  /// How many vectors there are from `first` on, and at most `width`.
  [[nodiscard]] Index from(Index first, Index width) const noexcept {
    return std::clamp<Index>(count - first, 0, width);
  }

  /// Words of a panel in each step, where `first` is its first vector.
  [[nodiscard]] Index panel_width(Index first) const noexcept {
    return rounded_up(from(first, panel_columns), column_unit);
  }

  /// Vectors first .. first + n.
  [[nodiscard]] Strided vectors(Index first, Index n) const noexcept {
    return {data + first * across, n, k, across, along};
  }
  /// Numbers p .. p + n of the vectors, or as many of them as there are.
  [[nodiscard]] Strided piece(Index p, Index n) const noexcept {
    return {data + p * along, count, std::min(n, k - p), across, along};
  }

  /// Packs vectors first .. first + width as [k / group][width], zeros where there are no more;
  /// words of one float, or of two bfloat16.
  void pack(Index group, Index first, Index width, Word* out) const noexcept {
    if (along != 1) return pack_part(group, 0, k, first, width, out);
    const Index there = from(first, width);
    const float* const begin = data + first * across;
    for (Index i = 0; i < width; i += 8) {
      const Index rows = std::clamp<Index>(there - i, 0, 8);
      const auto [words, stride] = group == 1 ? Rows{words_of(begin + i * across), across}
                                              : pairs_of_rows(begin + i * across, rows);
      active_kernels().pack_words(words, stride, rows, std::min<Index>(width, 8),
                                  divided_up(k, group), out + i, width);
    }
  }

  /// Packs panels begin .. end of a right operand. Where they lie beside each other, each gets some
  /// steps at a time, so that memory is read by whole rows.
  void pack_panels(Index group, Index begin, Index end, Word* out) const noexcept {
    const Index size = panel_columns * divided_up(k, group);
    const Index at_once = along == 1 ? std::max<Index>(k, 1) : 16;
    for (Index p = 0; p < k; p += at_once) {
      for (Index panel = begin; panel < end; ++panel) {
        const Index first = panel * panel_columns;
        const Index width = panel_width(first);
        Word* const words = out + (panel - begin) * size;
        if (along == 1)
          pack(group, first, width, words);
        else
          pack_part(group, p, at_once, first, width, words + p / group * width);
      }
    }
  }

  /// Packs strips begin .. end of a left operand of floats or bfloat16, in the same order. Where
  /// the vectors lie beside each other, a strip gets enough steps at a time to be written by many
  /// lines, since strips lie far from each other.
  void pack_strips(const Product& how, Index begin, Index end, Word* out) const noexcept {
    const Index size = strip_size(how, divided_up(k, how.group));
    const Index at_once = along == 1       ? std::max<Index>(k, 1)
                          : how.block == 1 ? 64
                                           : how.block * how.group;
    for (Index p = 0; p < k; p += at_once) {
      for (Index strip = begin; strip < end; ++strip) {
        Word* const words = out + (strip - begin) * size;
        if (along == 1)
          pack_strip(how, strip * how.rows, words);
        else
          pack_strip_part(how, p, at_once, strip * how.rows,
                          words + p / how.group * how.planes * how.rows);
      }
    }
  }

 private:
  /// Packs numbers p .. p + n of vectors first .. first + width that lie beside each other.
  void pack_part(Index group, Index p, Index n, Index first, Index width,
                 Word* out) const noexcept {
    const MatrixView<const float> rows{data + first * across + p * along, std::min(n, k - p),
                                       from(first, width), along};
    if (group == 2)
      active_kernels().pair_rows(rows, out, width);
    else
      active_kernels().float_rows(rows, out, width);
  }

  /// The same as part of a strip.
  void pack_strip_part(const Product& how, Index p, Index n, Index first,
                       Word* out) const noexcept {
    if (how.planes == 1 && how.block == 1) return pack_part(how.group, p, n, first, how.rows, out);
    const Index steps = divided_up(std::min(n, k - p), how.group);
    Word* const pairs = scratch<Word, Scratch::rows>(steps * how.rows);
    pack_part(how.group, p, n, first, how.rows, pairs);
    if (how.block > 1) {
      for (Index step = 0; step < how.block; step += 8) {
        active_kernels().pack_words(pairs + step * how.rows, how.rows,
                                    std::clamp<Index>(steps - step, 0, 8), 8, how.rows, out + step,
                                    how.block);
      }
      return;
    }
    for (Index i = 0; i < steps * how.rows; ++i) {
      Word* const planes = out + (i / how.rows * 2) * how.rows + i % how.rows;
      planes[0] = pairs[i] << 16;
      planes[how.rows] = pairs[i] & 0xffff0000;
    }
  }

  /// Packs the vectors from `first` on, whose numbers follow each other, as a strip.
  void pack_strip(const Product& how, Index first, Word* strip) const noexcept {
    if (how.group == 1) return pack(1, first, how.rows, strip);
    const Index there = from(first, how.rows);
    const Index steps = divided_up(k, how.group);
    const Index stride = rounded_up(steps, 8);
    const Index plane = how.rows * stride;
    Word* const converted = scratch<Word, Scratch::rows>(how.planes * plane);
    for (Index i = 0; i < there; ++i) {
      active_kernels().left_bfloat16_row(data + (first + i) * across, k, converted + i * stride,
                                         plane);
    }
    detail::pack_strip(active_kernels(), how, converted, stride, plane, there, steps, strip);
  }

  struct Rows {
    const Word* words;
    Index stride;
  };
  /// So many vectors, whose numbers follow each other, as rows of pairs.
  [[nodiscard]] Rows pairs_of_rows(const float* begin, Index rows) const noexcept {
    const Index stride = rounded_up(divided_up(k, 2), 8);
    Word* const words = scratch<Word, Scratch::rows>(8 * stride);
    for (Index i = 0; i < rows; ++i) {
      active_kernels().bfloat16_row(begin + i * across, k, words + i * stride);
    }
    return {words, stride};
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
        pack_panel(panel, weight, input_scale, words + panel * panel_columns * steps_, numbers);
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
  [[nodiscard]] Index panels() const noexcept { return detail::divided_up(out_, panel_columns); }
  /// Where a panel begins.
  [[nodiscard]] const Word* panel(Index panel) const noexcept {
    return words_ + panel * panel_columns * steps_;
  }
  /// Words of a panel in each step.
  [[nodiscard]] Index width(Index panel) const noexcept {
    return std::min(panel_columns, padded() - panel * panel_columns);
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
    const Index column = panel * panel_columns;
    if (precision_ != Precision::int8) {
      return detail::Strided{weight.data, weight.rows, weight.cols, weight.stride, 1}.pack(
          kernels.product(precision_).group, column, width(panel), words);
    }
    const Index stride = detail::rounded_up(steps_, 8);
    Word* const converted = detail::scratch<Word, detail::Scratch::rows>(8 * stride);
    float* const scaled = detail::scratch<float, detail::Scratch::scaled_row>(in_);
    for (Index first = column; first < column + width(panel); first += 8) {
      const Index rows = std::clamp<Index>(out_ - first, 0, 8);
      for (Index j = 0; j < rows; ++j) {
        const float* row = weight.row(first + j);
        if (input_scale != nullptr) {
          kernels.multiply(row, input_scale, scaled, in_);
          row = scaled;
        }
        kernels.signed_byte_row(row, in_, converted + j * stride, numbers + first + j,
                                numbers + padded() + first + j);
      }
      kernels.pack_words(converted, stride, rows, 8, steps_, words + first - column, width(panel));
      for (Index j = rows; j < 8; ++j) numbers[first + j] = numbers[padded() + first + j] = 0;
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

/// Floats of any layout as a left operand, of floats or bfloat16.
[[nodiscard]] inline PackedRows pack_left(ThreadPool* pool, const Product& how,
                                          const Strided& from) {
  const Index strips = divided_up(from.count, how.rows);
  const Index size = strip_size(how, divided_up(from.k, how.group));
  Word* const words = scratch<Word, Scratch::left>(strips * size);
  on_ranges(pool, strips, 8, [&](Index begin, Index end) {
    from.pack_strips(how, begin, end, words + begin * size);
  });
  return {words};
}

/// A row `[in]` that `weight` multiplies, divided by what it asks for.
[[nodiscard]] inline const float* divided_row(const PackedWeight& weight, const float* x) {
  const float* const multiplier = weight.input_multiplier();
  if (multiplier == nullptr) return x;
  float* const scaled = scratch<float, Scratch::scaled_row>(weight.in());
  active_kernels().multiply(x, multiplier, scaled, weight.in());
  return scaled;
}

/// A row `[in]` as Product::row takes it.
[[nodiscard]] inline PackedRows pack_row(const PackedWeight& weight, const float* x) {
  if (weight.precision() == Precision::full) return {words_of(x)};
  Word* const words = scratch<Word, Scratch::left>(rounded_up(weight.steps(), 8));
  if (weight.precision() == Precision::bf16) {
    active_kernels().left_bfloat16_row(x, weight.in(), words, 0);
    return {words};
  }
  float* const scale = scratch<float, Scratch::row_scale>(2);
  active_kernels().left_byte_row(divided_row(weight, x), weight.in(), words, 0, scale, scale + 1);
  return {words, scale, scale + 1};
}

/// Rows x `[m, k]` as the left operand of a product with `weight`.
[[nodiscard]] inline PackedRows pack_left(ThreadPool* pool, const PackedWeight& weight,
                                          MatrixView<const float> x) {
  const Kernels& kernels = active_kernels();
  const Product& how = kernels.product(weight.precision());
  if (weight.precision() != Precision::int8) {
    return pack_left(pool, how, {x.data, x.rows, x.cols, x.stride, 1});
  }
  const Index strips = divided_up(x.rows, how.rows);
  const Index size = strip_size(how, weight.steps());
  Word* const words = scratch<Word, Scratch::left>(strips * size);
  float* const scale = scratch<float, Scratch::row_scale>(2 * x.rows);
  float* const offset = scale + x.rows;
  on_ranges(pool, strips, 4, [&](Index begin, Index end) {
    const Index stride = rounded_up(weight.steps(), 8);
    const Index plane = how.rows * stride;
    Word* const converted = scratch<Word, Scratch::rows>(how.planes * plane);
    for (Index strip = begin; strip < end; ++strip) {
      const Index first = strip * how.rows;
      const Index rows = std::min(how.rows, x.rows - first);
      for (Index i = 0; i < rows; ++i) {
        kernels.left_byte_row(divided_row(weight, x.row(first + i)), x.cols, converted + i * stride,
                              plane, scale + first + i, offset + first + i);
      }
      pack_strip(kernels, how, converted, stride, plane, rows, weight.steps(),
                 words + strip * size);
    }
  });
  return {words, scale, offset};
}

}  // namespace detail
}  // namespace eigenformer::kernels
