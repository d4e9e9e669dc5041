// The kernels of every instruction set that this machine has, against plain loops in double.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/kernels/gemm.hpp"
#include "eigenformer/kernels/isa/kernels.hpp"
#include "eigenformer/kernels/packing.hpp"

namespace isa_test {

namespace ef = eigenformer;
namespace kernels = eigenformer::kernels;
using ef::Index;
using ef::Isa;

std::vector<float> random(Index n, std::uint64_t stream, double scale = 1) {
  const ef::Rng rng(5);
  std::vector<float> numbers(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(scale * rng.normal(stream, i));
  }
  return numbers;
}

class EveryIsa : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > ef::best_isa()) {
      GTEST_SKIP() << "this machine has no " << ef::name_of(GetParam());
    }
  }
  [[nodiscard]] const kernels::Kernels& k() const { return kernels::kernels_of(GetParam()); }
};

/// Distance from the exact value in units of the last place of a float.
double ulps(double exact, float found) {
  if (exact == found) return 0;
  int exponent = 0;
  std::frexp(std::max(std::abs(exact), double(std::numeric_limits<float>::min())), &exponent);
  return std::abs(exact - double(found)) / std::ldexp(1.0, exponent - 24);
}

/// The operands of one product as plain numbers, packed as one strip and one panel.
struct Operands {
  Index rows, columns, width, depth;
  std::vector<double> left,
      right;  // [rows][depth] and [columns][depth], as the arithmetic sees them
  std::vector<kernels::Word> left_words, right_words;
  std::vector<float> row_scale, row_offset, column_scale, column_sum;
};

/// The value of the bfloat16 in the lower (0) or upper (1) half of a word.
double bfloat16_of(kernels::Word word, Index half) {
  return std::bit_cast<float>(half == 0 ? word << 16 : word & 0xffff0000u);
}

Operands operands(const kernels::Kernels& k, ef::Precision precision, Index rows, Index columns,
                  Index depth) {
  const kernels::Product& how = k.product(precision);
  Operands o{rows, columns, (columns + 15) / 16 * 16, depth, {}, {}, {}, {}, {}, {}, {}, {}};
  const Index steps = (depth + how.group - 1) / how.group;
  const Index stride = (steps + 7) / 8 * 8 + 8;
  const auto a = random(rows * depth + 1, 1);
  const auto b = random(columns * depth + 1, 2);
  const Index padded_steps = (steps + how.block - 1) / how.block * how.block;
  o.left_words.resize(static_cast<std::size_t>(how.rows * how.planes * padded_steps + 8));
  o.right_words.resize(static_cast<std::size_t>(o.width * steps + 8));
  o.row_scale.resize(static_cast<std::size_t>(rows));
  o.row_offset.resize(static_cast<std::size_t>(rows));
  o.column_scale.resize(static_cast<std::size_t>(o.width));
  o.column_sum.resize(static_cast<std::size_t>(o.width));
  const auto at = [](auto& from, Index i) { return from.data() + i; };
  const Index plane = how.rows * stride;
  std::vector<kernels::Word> words(
      static_cast<std::size_t>(2 * std::max<Index>(plane, 8 * stride)));
  const auto take = [&](std::vector<double>& into, const float* x, const kernels::Word* row,
                        bool is_signed, float scale, float offset) {
    for (Index p = 0; p < depth; ++p) {
      const auto byte = static_cast<std::uint8_t>(row[p / 4] >> (8 * (p % 4)));
      into.push_back(precision == ef::Precision::full   ? x[p]
                     : precision == ef::Precision::bf16 ? bfloat16_of(row[p / 2], p % 2)
                     : is_signed ? double(scale) * static_cast<std::int8_t>(byte)
                                 : double(offset) + double(scale) * byte);
    }
  };
  std::vector<kernels::Word> plain(static_cast<std::size_t>(stride));
  for (Index i = 0; i < rows; ++i) {
    const float* x = a.data() + i * depth;
    kernels::Word* row = words.data() + i * stride;
    if (precision == ef::Precision::full) std::memcpy(row, x, sizeof(float) * std::size_t(depth));
    if (precision == ef::Precision::bf16) {
      k.left_bfloat16_row(x, depth, row, plane);
      k.bfloat16_row(x, depth, plain.data());
    }
    if (precision == ef::Precision::int8) {
      k.left_byte_row(x, depth, row, plane, at(o.row_scale, i), at(o.row_offset, i));
      for (Index p = 0; p < steps; ++p) {  // put together again what may be in two planes
        plain[std::size_t(p)] = how.planes == 1 ? row[p] : row[p] | row[plane + p] << 8;
      }
    }
    take(o.left, x, plain.data(), false, o.row_scale[std::size_t(i)], o.row_offset[std::size_t(i)]);
  }
  kernels::detail::pack_strip(k, how, words.data(), stride, plane, rows, steps,
                              o.left_words.data());
  for (Index first = 0; first < o.width; first += 8) {
    const Index there = std::clamp<Index>(columns - first, 0, 8);
    for (Index i = 0; i < there; ++i) {
      const float* x = b.data() + (first + i) * depth;
      kernels::Word* row = words.data() + i * stride;
      float* scale = at(o.column_scale, first + i);
      if (precision == ef::Precision::full) std::memcpy(row, x, sizeof(float) * std::size_t(depth));
      if (precision == ef::Precision::bf16) k.bfloat16_row(x, depth, row);
      if (precision == ef::Precision::int8) {
        k.signed_byte_row(x, depth, row, scale, at(o.column_sum, first + i));
      }
      take(o.right, x, row, true, *scale, 0);
    }
    k.pack_words(words.data(), stride, there, 8, steps, o.right_words.data() + first, o.width);
  }
  return o;
}

TEST_P(EveryIsa, TilesOfEverySize) {
  for (const auto precision : {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    const kernels::Product& how = k().product(precision);
    for (const Index depth : {0, 1, 7, 64, 97}) {
      for (const Index rows : {Index{1}, Index{2}, Index{3}, how.rows - 1, how.rows}) {
        for (const Index columns : {Index{1}, Index{17}, how.columns - 1, how.columns}) {
          if (columns > how.columns) continue;
          const Operands o = operands(k(), precision, rows, columns, depth);
          const auto bias = random(columns, 3);
          for (const bool accumulate : {false, true}) {
            if (accumulate && precision == ef::Precision::int8) continue;
            const Index stride = columns + 3;
            auto c = random(rows * stride, 4);
            const auto before = c;
            const bool bytes = precision == ef::Precision::int8;
            kernels::Tile tile;
            tile.k = (depth + how.group - 1) / how.group;
            tile.left = tile.next = o.left_words.data();
            tile.left_step = how.rows * how.planes;
            tile.right = o.right_words.data();
            tile.right_step = o.width;
            tile.c = c.data();
            tile.stride = stride;
            tile.rows = rows;
            tile.columns = columns;
            tile.accumulate = accumulate;
            tile.bias = accumulate ? nullptr : bias.data();
            if (bytes) {
              tile.row_scale = o.row_scale.data();
              tile.row_offset = o.row_offset.data();
              tile.column_scale = o.column_scale.data();
              tile.column_sum = o.column_sum.data();
            }
            how.tile(tile);
            for (Index i = 0; i < rows; ++i) {
              for (Index j = 0; j < stride; ++j) {
                const auto at = static_cast<std::size_t>(i * stride + j);
                if (j >= columns) {
                  EXPECT_EQ(c[at], before[at]) << "written outside the tile";
                  continue;
                }
                double sum = accumulate ? before[at] : bias[static_cast<std::size_t>(j)];
                for (Index p = 0; p < depth; ++p) {
                  sum += o.left[static_cast<std::size_t>(i * depth + p)] *
                         o.right[static_cast<std::size_t>(j * depth + p)];
                }
                EXPECT_NEAR(c[at], sum, 4e-5)
                    << ef::name_of(precision) << ' ' << rows << ' ' << columns << ' ' << depth;
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(EveryIsa, ARowAloneIsTheSameAsAmongOthers) {
  ef::ThreadPool threads(1);
  for (const auto precision : {ef::Precision::full, ef::Precision::bf16, ef::Precision::int8}) {
    const kernels::Product& how = k().product(precision);
    if (how.row == nullptr) continue;
    for (const Index depth : {1, 7, 64, 97, 900, 2100}) {
      // What is near 1, and what has subnormal products.
      for (const double scale : {1.0, 1e-20}) {
        const Index rows = 2;
        const Index columns = how.row_panels * how.columns + how.columns / 2 - 1;
        const auto x = random(rows * depth, 1, scale);
        const auto w = random(columns * depth, 2, scale);
        const auto bias = random(columns, 3, scale * scale);
        const kernels::PackedWeight weight(threads, precision, {w.data(), columns, depth, depth});
        const Index stride = (weight.steps() + 7) / 8 * 8;
        const Index plane = how.rows * stride;
        std::vector<kernels::Word> plain(static_cast<std::size_t>(how.planes * plane));
        std::vector<kernels::Word> strip(
            static_cast<std::size_t>(kernels::detail::strip_size(how, weight.steps())));
        std::vector<float> numbers(4);
        for (Index i = 0; i < rows; ++i) {
          const float* row = x.data() + i * depth;
          kernels::Word* to = plain.data() + i * stride;
          if (precision == ef::Precision::full)
            std::memcpy(to, row, sizeof(float) * std::size_t(depth));
          if (precision == ef::Precision::bf16) k().left_bfloat16_row(row, depth, to, plane);
          if (precision == ef::Precision::int8) {
            k().left_byte_row(row, depth, to, plane, numbers.data() + i, numbers.data() + 2 + i);
          }
        }
        kernels::detail::pack_strip(k(), how, plain.data(), stride, plane, rows, weight.steps(),
                                    strip.data());
        // Whole panels at once, fewer of them, and the narrower one.
        for (const Index panels : {how.row_panels, Index{3}, Index{0}}) {
          const Index first = panels == 0 ? how.row_panels : 0;
          const Index width = weight.width(first);
          const Index begin = first * how.columns;
          for (Index there : {panels == 0 ? columns - begin : panels * how.columns, Index{1}}) {
            const Index row_stride = columns + 16;
            const auto before = random(rows * row_stride, 4);
            auto c = before;
            auto alone = before;
            kernels::Tile tile{.k = weight.steps(),
                               .left = strip.data(),
                               .right = weight.words() + begin * weight.steps(),
                               .c = c.data(),
                               .stride = row_stride,
                               .rows = rows,
                               .bias = bias.data() + begin};
            if (precision == ef::Precision::int8) {
              tile.row_scale = numbers.data();
              tile.row_offset = numbers.data() + 2;
              tile.column_scale = weight.column_scale() + begin;
              tile.column_sum = weight.column_sum() + begin;
            }
            kernels::Tile row = tile;
            for (Index j = 0; j < there; j += how.columns) {
              tile.columns = std::min(how.columns, there - j);
              kernels::detail::multiply_panel(how, tile, width);
              tile.right += width * weight.steps();
              tile.c += how.columns;
              tile.bias += how.columns;
              if (tile.column_scale != nullptr) {
                tile.column_scale += how.columns;
                tile.column_sum += how.columns;
              }
            }
            row.rows = 1;
            row.columns = there;
            for (Index i = 0; i < rows; ++i) {
              row.left = plain.data() + i * stride;
              row.c = alone.data() + i * row_stride;
              kernels::detail::multiply_row(how, row, width);
              if (row.row_scale != nullptr) ++row.row_scale, ++row.row_offset;
            }
            EXPECT_EQ(std::memcmp(c.data(), alone.data(), c.size() * sizeof(float)), 0)
                << ef::name_of(precision) << ' ' << depth << ' ' << scale << ' ' << there;
            EXPECT_NE(std::memcmp(c.data(), before.data(), c.size() * sizeof(float)), 0);
          }
        }
      }
    }
  }
}

TEST_P(EveryIsa, BytesAreWithinHalfAStep) {
  for (const Index n : {1, 31, 32, 33, 100}) {
    const auto x = random(n, 11, 5);
    const auto size = static_cast<std::size_t>(n);
    std::vector<kernels::Word> words(size + 16);
    float scale = 0;
    float other = 0;
    k().signed_byte_row(x.data(), n, words.data(), &scale, &other);
    double sum = 0;
    for (std::size_t p = 0; p < size; ++p) {
      const auto byte = static_cast<std::int8_t>(words[p / 4] >> (8 * (p % 4)));
      EXPECT_GE(byte, -127);
      EXPECT_NEAR(byte * double(scale), x[p], 0.5001 * scale);
      sum += byte;
    }
    EXPECT_EQ(other, sum);
    const Index plane = n + 8;
    words.assign(static_cast<std::size_t>(2 * plane), 0);
    k().left_byte_row(x.data(), n, words.data(), plane, &scale, &other);
    const bool split = k().int8_product.planes == 2;
    for (Index p = 0; p < n; ++p) {
      const auto at = static_cast<std::size_t>(split && p % 2 == 1 ? plane + p / 4 : p / 4);
      const auto byte =
          static_cast<std::uint8_t>(words[at] >> (split ? p % 4 / 2 * 16 : p % 4 * 8));
      EXPECT_NEAR(byte * double(scale) + other, x[static_cast<std::size_t>(p)], 0.5001 * scale);
    }
  }
}

TEST_P(EveryIsa, BytesOfEqualOrImpossibleNumbers) {
  std::vector<kernels::Word> words(64);
  float scale = 0;
  float offset = 0;
  for (const float same : {0.0f, 3.0f, -2.5f, 1e-40f, 3e38f}) {
    const std::vector<float> x(5, same);
    k().left_byte_row(x.data(), 5, words.data(), 32, &scale, &offset);
    EXPECT_EQ(offset + scale * static_cast<float>(words[0] & 0xff), same);
  }
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (std::size_t at = 0; at < 40; ++at) {
      std::vector<float> x(40, 1);
      x[at] = wrong;
      k().left_byte_row(x.data(), 40, words.data(), 32, &scale, &offset);
      EXPECT_TRUE(std::isnan(scale)) << wrong << " at " << at;
      k().signed_byte_row(x.data(), 40, words.data(), &scale, &offset);
      EXPECT_TRUE(std::isnan(scale)) << wrong << " at " << at;
    }
  }
  const std::vector<float> wide{-3e38f, 3e38f, 0.0f};
  k().left_byte_row(wide.data(), 3, words.data(), 32, &scale, &offset);
  EXPECT_TRUE(std::isfinite(scale));
}

TEST_P(EveryIsa, RowsBecomeBFloat16AndFloatsAgain) {
  for (const Index n : {0, 1, 15, 16, 17, 100}) {
    const auto x = random(n, 1);
    std::vector<kernels::Word> words(static_cast<std::size_t>((n + 15) / 16 * 8));
    std::vector<float> found(static_cast<std::size_t>(n) + 1, 7.0f);
    k().bfloat16_row(x.data(), n, words.data());
    k().float_row(words.data(), n, found.data());
    EXPECT_EQ(found.back(), 7.0f) << "written outside";
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      EXPECT_EQ(double(found[i]), bfloat16_of(words[i / 2], static_cast<Index>(i % 2)));
      EXPECT_NEAR(found[i], x[i], std::abs(x[i]) / 256);
    }
  }
}

TEST_P(EveryIsa, PairsRowsOfEverySize) {
  for (Index rows = 1; rows <= 4; ++rows) {
    for (Index cols = 1; cols <= 70; ++cols) {
      std::vector<float> x = random(rows * 80, 3);
      x[0] = std::numeric_limits<float>::quiet_NaN();
      x.back() = std::numeric_limits<float>::infinity();
      const Index width = (cols + 7) / 8 * 8;
      const Index steps = (rows + 1) / 2;
      std::vector<kernels::Word> out(static_cast<std::size_t>(steps * width + 1), 7);
      k().pair_rows({x.data(), rows, cols, 80}, out.data(), width);
      EXPECT_EQ(out.back(), 7u) << "written outside";
      for (Index i = 0; i < 2 * steps; ++i) {
        for (Index j = 0; j < width; ++j) {
          const kernels::Word word = out[static_cast<std::size_t>(i / 2 * width + j)];
          const bool there = i < rows && j < cols;
          const float expected = there ? x[static_cast<std::size_t>(i * 80 + j)] : 0.0f;
          kernels::Word rounded[8];
          k().bfloat16_row(&expected, 1, rounded);
          ASSERT_EQ(word >> (i % 2 * 16) & 0xffff, rounded[0] & 0xffff) << i << ' ' << j;
        }
      }
    }
  }
}

TEST_P(EveryIsa, PacksWordsOfEverySize) {
  for (const Index width : {6, 8}) {
    for (const Index steps : {0, 1, 7, 8, 9, 24, 29}) {
      for (Index rows = 0; rows <= width; ++rows) {
        for (const Index step : {width, 2 * width, Index{48}}) {
          std::vector<kernels::Word> x(static_cast<std::size_t>(8 * 40));
          for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<kernels::Word>(i + 1);
          std::vector<kernels::Word> out(static_cast<std::size_t>((steps + 1) * step), 7);
          k().pack_words(x.data(), 40, rows, width, steps, out.data(), step);
          for (Index p = 0; p <= steps; ++p) {
            for (Index i = 0; i < step; ++i) {
              const auto found = out[static_cast<std::size_t>(p * step + i)];
              if (p == steps || i >= width)
                ASSERT_EQ(found, 7u) << "written outside";
              else
                ASSERT_EQ(found, i < rows ? static_cast<kernels::Word>(i * 40 + p + 1) : 0u);
            }
          }
        }
      }
    }
  }
}

TEST_P(EveryIsa, SoftmaxDownColumns) {
  for (const Index keys : {1, 2, 5, 40}) {
    for (const Index columns : {1, 16, 33, 48}) {
      const Index step = 48;
      const auto x = random(keys * step, 12, 3);
      std::vector<kernels::Word> words(static_cast<std::size_t>(keys * step));
      std::vector<float> inverse(static_cast<std::size_t>(step));
      for (const bool pairs : {false, true}) {
        (pairs ? k().softmax_columns_in_pairs : k().softmax_columns)(
            x.data(), keys, columns, step, 0.5f, words.data(), inverse.data());
        for (Index j = 0; j < columns; ++j) {
          double top = -1e30;
          double sum = 0;
          for (Index i = 0; i < keys; ++i) {
            top = std::max(top, double(x[static_cast<std::size_t>(i * step + j)]));
          }
          for (Index i = 0; i < keys; ++i) {
            sum += std::exp(0.5 * (x[static_cast<std::size_t>(i * step + j)] - top));
          }
          EXPECT_NEAR(inverse[static_cast<std::size_t>(j)] * sum, 1, 1e-6);
          for (Index i = 0; i < keys; ++i) {
            const double exact = std::exp(0.5 * (x[static_cast<std::size_t>(i * step + j)] - top));
            const auto at = static_cast<std::size_t>((pairs ? i / 2 : i) * step + j);
            const double found =
                pairs ? bfloat16_of(words[at], i % 2) : std::bit_cast<float>(words[at]);
            EXPECT_NEAR(found, exact, pairs ? 2e-3 : 2e-7);
          }
        }
      }
    }
  }
}

TEST_P(EveryIsa, ActivationsAreAccurate) {
  struct Case {
    const char* name;
    void (*found)(const float*, float*, Index) noexcept;
    std::function<double(double)> exact;
    double most;  ///< ulps; the tanh form's exponent loses digits in its far tail
    double from;
  };
  const std::vector<Case> cases{
      {"gelu", k().gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }, 6, -13},
      {"gelu_tanh", k().gelu_tanh,
       [](double x) {
         return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       32, -5},
      {"silu", k().silu, [](double x) { return x / (1 + std::exp(-x)); }, 3, -80},
      {"relu", k().relu, [](double x) { return x < 0 ? 0 : x; }, 0, -80},
  };
  for (const Case& test : cases) {
    std::vector<float> x;
    for (double v = test.from; v < 20; v += 0.0037) x.push_back(static_cast<float>(v));
    std::vector<float> y(x.size());
    test.found(x.data(), y.data(), static_cast<Index>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(ulps(test.exact(x[i]), y[i]), test.most) << test.name << " at " << x[i];
    }
    // Rests of a vector, in place, and nothing beyond the end.
    for (Index n = 0; n < 35; ++n) {
      std::vector<float> rest(x.begin(), x.begin() + 36);
      test.found(rest.data(), rest.data(), n);
      for (Index i = 0; i < 36; ++i) {
        const auto at = static_cast<std::size_t>(i);
        EXPECT_EQ(rest[at], i < n ? y[at] : x[at]) << test.name;
      }
    }
  }
}

TEST_P(EveryIsa, SoftmaxOfEveryLength) {
  for (Index n = 1; n < 70; ++n) {
    auto x = random(n, 7, 3);
    if (n > 5) x[2] = std::numeric_limits<float>::lowest();  // a masked score
    std::vector<float> y(x.size());
    float top = 0;
    const float sum = k().softmax_row(x.data(), y.data(), n, &top);
    EXPECT_EQ(top, *std::max_element(x.begin(), x.end()));
    double exact = 0;
    for (const float v : x) exact += std::exp(double(v) - top);
    EXPECT_NEAR(sum / exact, 1, 1e-6);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], std::exp(double(x[i]) - top) / exact, 4e-7);
    }
    if (n > 5) {
      EXPECT_EQ(y[2], 0.0f);
    }
  }
}

TEST_P(EveryIsa, NormOfEveryLength) {
  for (Index n = 1; n < 70; ++n) {
    const auto x = random(n, 8);
    const auto gamma = random(n, 9);
    const auto beta = random(n, 10);
    std::vector<float> y(x.size());
    const float scale =
        k().norm_row(x.data(), nullptr, gamma.data(), beta.data(), 1e-5f, y.data(), nullptr, n);
    double mean = 0;
    for (const float v : x) mean += v / double(n);
    double variance = 0;
    for (const float v : x) variance += (v - mean) * (v - mean) / double(n);
    const double exact = 1 / std::sqrt(variance + 1e-5);
    EXPECT_NEAR(scale / exact, 1, 1e-5);
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(y[i], (x[i] - mean) * exact * gamma[i] + beta[i], 1e-5);
    }
  }
}

TEST_P(EveryIsa, NormBackwardOfEveryLength) {
  for (Index n = 1; n < 70; ++n) {
    const auto x = random(n, 8);
    const auto gamma = random(n, 9);
    const auto dy = random(n, 10);
    const auto size = static_cast<std::size_t>(n);
    const float scale = 0.7f;
    std::vector<float> dx(size + 1, 5), dgamma(size + 1, 1), dbeta(size + 1, 2);
    k().norm_row_backward(x.data(), gamma.data(), scale, dy.data(), dx.data(), dgamma.data(),
                          dbeta.data(), n);
    double mean = 0, mean_g = 0, mean_g_normal = 0;
    for (std::size_t i = 0; i < size; ++i) mean += x[i] / double(n);
    const auto normal = [&](std::size_t i) { return (x[i] - mean) * scale; };
    for (std::size_t i = 0; i < size; ++i) {
      mean_g += double(dy[i]) * gamma[i] / double(n);
      mean_g_normal += double(dy[i]) * gamma[i] * normal(i) / double(n);
    }
    for (std::size_t i = 0; i < size; ++i) {
      const double g = double(dy[i]) * gamma[i];
      EXPECT_NEAR(dx[i], scale * (g - mean_g - normal(i) * mean_g_normal), 1e-5);
      EXPECT_NEAR(dgamma[i], 1 + dy[i] * normal(i), 1e-5);
      EXPECT_NEAR(dbeta[i], 2 + dy[i], 1e-5);
    }
    EXPECT_EQ(dx[size] + dgamma[size] + dbeta[size], 8) << "written outside";
    const auto alone = dx;
    k().norm_row_backward(x.data(), gamma.data(), scale, dy.data(), dx.data(), nullptr, nullptr, n);
    EXPECT_EQ(dx, alone);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryIsa, testing::ValuesIn(ef::every_isa),
                         [](const auto& row) { return std::string(ef::name_of(row.param)); });

TEST(IsaNames, AreKnownOrRefused) {
  EXPECT_EQ(ef::isa_from_name(ef::name_of(Isa::baseline)), Isa::baseline);
  EXPECT_EQ(ef::isa_from_name(ef::name_of(ef::best_isa())), ef::best_isa());
  EXPECT_THROW((void)ef::isa_from_name("mmx"), ef::ConfigError);
}

}  // namespace isa_test
