// Reading tensors in every type, using them in place, and writing files.
#include "eigenformer/io/safetensors.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include "safetensors_bytes.hpp"

namespace eigenformer::safetensors_test {
using testing::entry;
using testing::safetensors_bytes;
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;
using Names = std::vector<std::string>;

template <class Scalar>
TensorToWrite tensor(std::string name, const std::vector<Scalar>& values) {
  return {std::move(name),
          dtype_of<Scalar>,
          {static_cast<Index>(values.size())},
          std::as_bytes(std::span(values))};
}

template <class Scalar>
std::vector<Scalar> read_all(const SafetensorsFile& file, std::string_view name) {
  std::vector<Scalar> values(static_cast<std::size_t>(file.info(name).numel()));
  file.read<Scalar>(name, values);
  return values;
}

/// A file with one tensor 'x', read back.
class One {
 public:
  template <class Scalar>
  explicit One(const std::vector<Scalar>& values)
      : file_([&] {
          const TensorToWrite x = tensor("x", values);
          write_safetensors(path_, std::span(&x, 1));
          return SafetensorsFile::open(path_);
        }()) {}

  template <class Scalar>
  [[nodiscard]] std::vector<Scalar> as() const {
    return read_all<Scalar>(file_, "x");
  }
  /// The error of reading it; checks that file and tensor are named.
  template <class Scalar>
  [[nodiscard]] std::string refused() const {
    std::vector<char> room(static_cast<std::size_t>(file_.info("x").numel()) * sizeof(Scalar));
    const std::span<Scalar> out(reinterpret_cast<Scalar*>(room.data()),
                                room.size() / sizeof(Scalar));
    const std::string message = message_of<FormatError>([&] { file_.read<Scalar>("x", out); });
    EXPECT_TRUE(contains(message, path_ + ": tensor 'x'"));
    return message;
  }

 private:
  TemporaryFolder folder_;
  std::string path_ = folder_ / "one.safetensors";
  SafetensorsFile file_;
};

// ---- Conversions ----

TEST(SafetensorsRead, EveryHalf) {
  std::vector<Half> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i].bits = static_cast<std::uint16_t>(i);
  const One file(halves);
  const auto floats = file.as<float>();
  const auto doubles = file.as<double>();
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const int exponent = static_cast<int>((i >> 10) & 31u);
    const int fraction = static_cast<int>(i & 1023u);
    const bool negative = i >= 32768;
    ASSERT_EQ(std::signbit(floats[i]), negative) << i;
    if (exponent == 31 && fraction != 0) {
      ASSERT_TRUE(std::isnan(floats[i]) && std::isnan(doubles[i])) << i;
      continue;
    }
    const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(doubles[i], negative ? -magnitude : magnitude) << i;
    ASSERT_EQ(floats[i], static_cast<float>(doubles[i])) << i;
  }
  EXPECT_EQ(floats[0x3c00], 1.0f);
  EXPECT_EQ(floats[0x0001], 0x1p-24f);
  EXPECT_EQ(floats[0x03ff], 0x3ffp-24f);
  EXPECT_EQ(floats[0x7bff], 65504.0f);
  EXPECT_EQ(floats[0x7c00], std::numeric_limits<float>::infinity());
  const auto same = file.as<Half>();
  EXPECT_EQ(std::memcmp(same.data(), halves.data(), 2 * 65536), 0);
}

TEST(SafetensorsRead, EveryBFloat16) {
  std::vector<BFloat16> values(65536);
  for (std::size_t i = 0; i < values.size(); ++i) values[i].bits = static_cast<std::uint16_t>(i);
  const One file(values);
  const auto floats = file.as<float>();
  const auto doubles = file.as<double>();
  for (std::uint32_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]), i << 16);
    if (!std::isnan(floats[i])) {
      ASSERT_EQ(doubles[i], static_cast<double>(floats[i]));
    } else {
      ASSERT_TRUE(std::isnan(doubles[i]));
    }
  }
  const auto same = file.as<BFloat16>();
  EXPECT_EQ(std::memcmp(same.data(), values.data(), 2 * 65536), 0);
}

TEST(SafetensorsRead, Float) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0f,   -0.0f,    1.5f,      1e-45f,       3.4028235e38f,
                                     -1e30f, infinity, -infinity, std::nanf("")};
  const One file(values);
  const auto same = file.as<float>();
  EXPECT_EQ(std::memcmp(same.data(), values.data(), values.size() * sizeof(float)), 0);
  const auto doubles = file.as<double>();
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    EXPECT_EQ(doubles[i], static_cast<double>(values[i]));
  }
  EXPECT_TRUE(std::signbit(doubles[1]));
  EXPECT_TRUE(std::isnan(doubles.back()));
}

TEST(SafetensorsRead, DoubleIsRoundedToFloat) {
  const double infinity = std::numeric_limits<double>::infinity();
  const One file(std::vector<double>{0.1, 1.0 + 0x1p-24, 1.0 + 0x3p-24, 1e300, -infinity, 1e-320,
                                     std::nan(""), 0x1p-149, 0x1p-150});
  const auto floats = file.as<float>();
  EXPECT_EQ(floats[0], 0.1f);
  EXPECT_EQ(floats[1], 1.0f);             // a tie goes to even
  EXPECT_EQ(floats[2], 1.0f + 0x2p-23f);  // also upwards
  EXPECT_EQ(floats[3], std::numeric_limits<float>::infinity());
  EXPECT_EQ(floats[4], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(floats[5], 0.0f);
  EXPECT_TRUE(std::isnan(floats[6]));
  EXPECT_EQ(floats[7], 0x1p-149f);
  EXPECT_EQ(floats[8], 0.0f);
  EXPECT_EQ(file.as<double>()[0], 0.1);
}

TEST(SafetensorsRead, FractionsAreNotWholeNumbers) {
  const std::vector<float> floats = {1.0f};
  EXPECT_TRUE(contains(One(floats).refused<std::int32_t>(), "F32 cannot be read as I32"));
  EXPECT_TRUE(contains(One(floats).refused<bool>(), "F32 cannot be read as BOOL"));
  EXPECT_TRUE(contains(One(std::vector<double>{1}).refused<std::int64_t>(), "F64"));
  EXPECT_TRUE(contains(One(std::vector<Half>(1)).refused<std::uint8_t>(), "F16"));
  EXPECT_TRUE(contains(One(std::vector<BFloat16>(1)).refused<std::int32_t>(), "BF16"));
}

TEST(SafetensorsRead, NarrowFormatsAreOnlyCopied) {
  EXPECT_TRUE(contains(One(std::vector<float>{1}).refused<Half>(), "F32 cannot be read as F16"));
  EXPECT_TRUE(
      contains(One(std::vector<Half>(1)).refused<BFloat16>(), "F16 cannot be read as BF16"));
  EXPECT_TRUE(contains(One(std::vector<std::uint16_t>{1}).refused<Half>(), "U16"));
}

/// Reads [0, value, 1] as `Scalar`, which must work exactly where the value fits.
template <class Scalar, class Stored>
void check_integer(const One& file, Stored value) {
  if (!std::in_range<Scalar>(value)) {
    const std::string message = file.refused<Scalar>();
    EXPECT_TRUE(contains(message, concat("element 1 is ", +value)));
    EXPECT_TRUE(contains(message, concat("does not fit into ", name_of(dtype_of<Scalar>))));
    return;
  }
  const auto values = file.as<Scalar>();
  EXPECT_TRUE(std::cmp_equal(values[1], value));
  EXPECT_EQ(values[0], Scalar{0});
  EXPECT_EQ(values[2], Scalar{1});
}

template <class Stored>
void check_integers_of() {
  using Limits = std::numeric_limits<Stored>;
  for (const Stored value : {Limits::min(), static_cast<Stored>(0), static_cast<Stored>(1),
                             static_cast<Stored>(100), Limits::max()}) {
    const One file(std::vector<Stored>{0, value, 1});
    check_integer<std::uint8_t>(file, value);
    check_integer<std::int8_t>(file, value);
    check_integer<std::uint16_t>(file, value);
    check_integer<std::int16_t>(file, value);
    check_integer<std::uint32_t>(file, value);
    check_integer<std::int32_t>(file, value);
    check_integer<std::uint64_t>(file, value);
    check_integer<std::int64_t>(file, value);
    EXPECT_EQ(file.as<double>()[1], static_cast<double>(value));
    EXPECT_EQ(file.as<float>()[1], static_cast<float>(value));
  }
}

TEST(SafetensorsRead, EveryIntegerAsEveryOther) {
  check_integers_of<std::uint8_t>();
  check_integers_of<std::int8_t>();
  check_integers_of<std::uint16_t>();
  check_integers_of<std::int16_t>();
  check_integers_of<std::uint32_t>();
  check_integers_of<std::int32_t>();
  check_integers_of<std::uint64_t>();
  check_integers_of<std::int64_t>();
}

TEST(SafetensorsRead, Booleans) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  std::string bytes = safetensors_bytes(concat("{", entry("x", "BOOL", "[4]", "[0,4]"), "}"), 4);
  bytes.replace(bytes.size() - 4, 4, "\x00\x01\x02\xff", 4);
  write_file(path, bytes);
  const auto file = SafetensorsFile::open(path);
  bool values[4];
  file.read<bool>("x", values);
  EXPECT_FALSE(values[0]);
  EXPECT_TRUE(values[1] && values[2] && values[3]);
  EXPECT_EQ(read_all<std::int32_t>(file, "x"), (std::vector<std::int32_t>{0, 1, 1, 1}));
  EXPECT_EQ(read_all<float>(file, "x"), (std::vector<float>{0, 1, 1, 1}));

  bool from_numbers[2];
  const std::vector<std::int64_t> good = {0, 1}, bad = {0, 2};
  const TensorToWrite tensors[] = {tensor("good", good), tensor("bad", bad)};
  write_safetensors(path, tensors);
  const auto numbers = SafetensorsFile::open(path);
  numbers.read<bool>("good", from_numbers);
  EXPECT_TRUE(!from_numbers[0] && from_numbers[1]);
  EXPECT_TRUE(contains(message_of<FormatError>([&] { numbers.read<bool>("bad", from_numbers); }),
                       "element 1 is 2, which does not fit into BOOL"));
}

TEST(SafetensorsRead, UnalignedData) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  for (std::size_t padding = 0; padding < 8; ++padding) {
    const std::string header =
        concat("{", entry("b", "U8", "[1]", "[0,1]"), ",", entry("d", "F64", "[2]", "[1,17]"), ",",
               entry("f", "F32", "[2]", "[17,25]"), ",", entry("h", "F16", "[1]", "[25,27]"), ",",
               entry("i", "I64", "[1]", "[27,35]"), "}", std::string(padding, ' '));
    std::string bytes = safetensors_bytes(header);
    const double d[] = {0.5, -2};
    const float f[] = {0.25f, 3};
    const std::uint16_t h = 0x3e00;
    const std::int64_t i = -5;
    bytes += '\7';
    bytes.append(reinterpret_cast<const char*>(d), 16);
    bytes.append(reinterpret_cast<const char*>(f), 8);
    bytes.append(reinterpret_cast<const char*>(&h), 2);
    bytes.append(reinterpret_cast<const char*>(&i), 8);
    write_file(path, bytes);
    const auto file = SafetensorsFile::open(path);
    EXPECT_EQ(read_all<double>(file, "d"), (std::vector<double>{0.5, -2}));
    EXPECT_EQ(read_all<float>(file, "d"), (std::vector<float>{0.5f, -2}));
    EXPECT_EQ(read_all<float>(file, "f"), (std::vector<float>{0.25f, 3}));
    EXPECT_EQ(read_all<float>(file, "h"), (std::vector<float>{1.5f}));
    EXPECT_EQ(read_all<std::int32_t>(file, "i"), (std::vector<std::int32_t>{-5}));
    const bool aligned = (8 + header.size() + 17) % alignof(float) == 0;
    EXPECT_EQ(file.view<float>("f") != nullptr, aligned);
    if (aligned) {
      EXPECT_EQ(*file.view<float>("f"), 0.25f);
    }
  }
}

// ---- Access ----

TEST(SafetensorsFile, ListsTensorsOfUnreadableTypes) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_file(path, safetensors_bytes(concat("{", entry("eight", "F8_E4M3", "[4]", "[0,4]"), ",",
                                            entry("four", "F4", "[2]", "[4,5]"), ",",
                                            entry("z", "C64", "[1]", "[5,13]"), "}"),
                                     13));
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.names(), (Names{"eight", "four", "z"}));
  EXPECT_EQ(file.info("eight").dtype_name, "F8_E4M3");
  EXPECT_FALSE(file.info("eight").dtype.has_value());
  EXPECT_EQ(file.bytes("four").size(), 1u);
  EXPECT_EQ(file.view<float>("z"), nullptr);
  std::vector<float> out(4);
  const std::string message = message_of<FormatError>([&] { file.read<float>("eight", out); });
  EXPECT_TRUE(contains(message, path + ": tensor 'eight'"));
  EXPECT_TRUE(contains(message, "F8_E4M3 cannot be read"));
}

TEST(SafetensorsFile, AnswersQuestions) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  const std::vector<float> f = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> i = {7};
  TensorToWrite tensors[] = {tensor("b", f), tensor("a", i), tensor("c", f)};
  tensors[0].shape = {2, 3};
  tensors[1].shape = {};
  write_safetensors(path, tensors, {{"format", "pt"}});
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.names(), (Names{"a", "b", "c"}));  // the wide type comes first
  EXPECT_TRUE(file.contains("b"));
  EXPECT_FALSE(file.contains("d"));
  EXPECT_FALSE(file.contains(""));
  EXPECT_EQ(file.shape("b"), (Shape{2, 3}));
  EXPECT_EQ(file.shape("a"), Shape{});
  EXPECT_EQ(file.info("c").dtype, DType::f32);
  EXPECT_EQ(file.info("c").numel(), 6);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.bytes("a").size(), 8u);
  const std::string message = message_of<FormatError>([&] { (void)file.info("d"); });
  EXPECT_TRUE(contains(message, path + ": has no tensor 'd'"));
}

TEST(SafetensorsFile, SizesMustFit) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  std::vector<float> f = {1, 2, 3, 4, 5, 6};
  TensorToWrite x = tensor("x", f);
  x.shape = {3, 2};
  write_safetensors(path, std::span(&x, 1));
  const auto file = SafetensorsFile::open(path);
  std::vector<float> out(5);
  const std::string message = message_of<ShapeError>([&] { file.read<float>("x", out); });
  EXPECT_TRUE(contains(message, path + ": tensor 'x': has 6 elements, shape [3, 2]"));
  EXPECT_TRUE(contains(message, "into 5"));

  file.read_range<float>("x", 1, out);
  EXPECT_EQ(out, (std::vector<float>{2, 3, 4, 5, 6}));
  EXPECT_THROW(file.read_range<float>("x", 2, out), ShapeError);
  EXPECT_THROW(file.read_range<float>("x", -1, out), ShapeError);
  EXPECT_THROW(file.read_range<float>("x", PTRDIFF_MAX, out), ShapeError);
  file.read_range<float>("x", 6, std::span<float>());

  std::vector<double> rows(4);
  file.read_rows<double>("x", 1, 2, rows);
  EXPECT_EQ(rows, (std::vector<double>{3, 4, 5, 6}));
  EXPECT_THROW(file.read_rows<double>("x", 2, 2, rows), ShapeError);
  EXPECT_THROW(file.read_rows<double>("x", 0, 1, rows), ShapeError);
  EXPECT_THROW(file.read_rows<double>("x", -1, 2, rows), ShapeError);
  EXPECT_THROW(file.read_rows<double>("x", 4, 0, std::span<double>()), ShapeError);
  file.read_rows<double>("x", 3, 0, std::span<double>());
}

TEST(SafetensorsFile, RangesNameElementsOfTheWholeTensor) {
  const TemporaryFolder folder;
  const std::vector<std::int64_t> values = {0, 1, 2, 1000};
  const TensorToWrite x = tensor("x", values);
  write_safetensors(folder / "a", std::span(&x, 1));
  const auto file = SafetensorsFile::open(folder / "a");
  std::vector<std::int8_t> out(2);
  EXPECT_TRUE(contains(message_of<FormatError>([&] { file.read_range<std::int8_t>("x", 2, out); }),
                       "element 3 is 1000"));
}

TEST(SafetensorsFile, RankBeyondEightCanBeListed) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_file(path, safetensors_bytes(
                       concat("{", entry("x", "U8", "[1,1,1,1,1,1,1,1,2]", "[0,2]"), "}"), 2));
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.info("x").shape.size(), 9u);
  const std::string message = message_of<FormatError>([&] { (void)file.shape("x"); });
  EXPECT_TRUE(contains(message, path + ": tensor 'x': has 9 axes"));
}

TEST(SafetensorsFile, ZeroSizeTensors) {
  const TemporaryFolder folder;
  TensorToWrite x{"x", DType::f32, {0, 3}, {}};
  write_safetensors(folder / "a", std::span(&x, 1));
  const auto file = SafetensorsFile::open(folder / "a");
  file.read<float>("x", std::span<float>());
  file.read<double>("x", std::span<double>());
  file.read_rows<float>("x", 0, 0, std::span<float>());
  EXPECT_EQ(file.bytes("x").size(), 0u);
}

TEST(SafetensorsFile, ViewsAreInPlacePrivateAndOutliveTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const std::vector<float> f = {1, 2, 3};
  const TensorToWrite x = tensor("x", f);
  write_safetensors(path, std::span(&x, 1));
  const std::string before = read_file(path);
  const float* view = nullptr;
  std::shared_ptr<const MappedFile> keep;
  {
    const auto file = SafetensorsFile::open(path);
    view = file.view<float>("x");
    keep = file.mapping();
    EXPECT_EQ(file.view<double>("x"), nullptr);
    EXPECT_EQ(file.view<std::int32_t>("x"), nullptr);
    EXPECT_EQ(static_cast<const void*>(view), file.bytes("x").data());
  }
  ASSERT_NE(view, nullptr);
  const_cast<float*>(view)[1] = 9;
  EXPECT_EQ(view[1], 9);
  EXPECT_EQ(view[2], 3);
  EXPECT_EQ(read_file(path), before);
}

TEST(SafetensorsFile, CopiesAreIndependent) {
  const TemporaryFolder folder;
  const std::vector<float> f = {1, 2, 3};
  const TensorToWrite tensors[] = {tensor("x", f), tensor("y", f)};
  write_safetensors(folder / "a", tensors);
  auto file = std::make_unique<SafetensorsFile>(SafetensorsFile::open(folder / "a"));
  const SafetensorsFile copy = *file;
  file.reset();
  EXPECT_EQ(read_all<float>(copy, "y"), f);
}

TEST(SafetensorsFile, ModelFormat) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  for (const char* format : {"pt", "tf", "flax", "mlx"}) {
    write_safetensors(path, {}, {{"format", format}});
    EXPECT_NO_THROW(check_model_format(SafetensorsFile::open(path)));
  }
  write_safetensors(path, {});
  EXPECT_NO_THROW(check_model_format(SafetensorsFile::open(path)));
  write_safetensors(path, {}, {{"format", "np"}});
  const auto file = SafetensorsFile::open(path);
  const std::string message = message_of<FormatError>([&] { check_model_format(file); });
  EXPECT_TRUE(contains(message, path));
  EXPECT_TRUE(contains(message, "'np'"));
}

TEST(SafetensorsFile, MissingEmptyAndFolder) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(message_of<IoError>([&] { (void)SafetensorsFile::open(folder / "no"); }),
                       folder / "no"));
  EXPECT_THROW((void)SafetensorsFile::open(folder.path()), IoError);
  write_file(folder / "empty", "");
  EXPECT_THROW((void)SafetensorsFile::open(folder / "empty"), IoError);
}

// ---- Writing ----

TEST(SafetensorsWrite, RefusesWhatCannotBeRead) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const std::vector<float> f = {1, 2, 3};
  const auto refused = [&](const std::vector<TensorToWrite>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    const std::string message =
        message_of<FormatError>([&] { write_safetensors(path, tensors, metadata); });
    EXPECT_TRUE(contains(message, path));
    EXPECT_EQ(folder.entries(), Names{});
    return message;
  };
  EXPECT_TRUE(contains(refused({tensor("x", f), tensor("y", f), tensor("x", f)}),
                       "tensor 'x' is given twice"));
  EXPECT_TRUE(contains(refused({tensor("__metadata__", f)}), "__metadata__"));
  EXPECT_TRUE(contains(refused({tensor(std::string("a\0b", 3), f)}), "name"));
  EXPECT_TRUE(contains(refused({tensor("\xff", f)}), "UTF-8"));
  EXPECT_TRUE(contains(refused({}, {{"a", "\xff"}}), "UTF-8"));
  TensorToWrite wrong = tensor("x", f);
  wrong.shape = {2, 2};
  EXPECT_TRUE(contains(refused({wrong}), "shape [2, 2] of F32 is 16 bytes, but 12 are given"));
  wrong.shape = {PTRDIFF_MAX, 8};
  EXPECT_TRUE(contains(refused({wrong}), "overflows"));
  EXPECT_TRUE(contains(refused({tensor(std::string(100'000'000, 'x'), f)}), "too large"));
}

TEST(SafetensorsWrite, FailureLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_safetensors(path, {}, {{"format", "pt"}});
  const std::string before = read_file(path);
  const std::vector<float> f(1'000'000);
  const TensorToWrite x = tensor("x", f);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{65536, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      message_of<IoError>([&] { write_safetensors(path, std::span(&x, 1)); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(contains(message, path + ": cannot be written: File too large"));
  EXPECT_EQ(read_file(path), before);
  EXPECT_EQ(folder.entries(), Names{"a"});
}

TEST(SafetensorsWrite, CanReplaceTheFileThatItReadsFrom) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  const std::vector<float> f = {1, 2, 3};
  const TensorToWrite x = tensor("x", f);
  write_safetensors(path, std::span(&x, 1));
  const auto file = SafetensorsFile::open(path);
  const TensorToWrite tensors[] = {{"y", DType::f32, {3}, file.bytes("x")}, x};
  write_safetensors(path, tensors);
  EXPECT_EQ(read_all<float>(SafetensorsFile::open(path), "y"), f);
  EXPECT_EQ(read_all<float>(file, "x"), f);
}

TEST(SafetensorsWrite, ManyTensors) {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  std::vector<float> values(20'000);
  std::vector<TensorToWrite> tensors;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i);
    tensors.push_back(
        {concat("layer.", i), DType::f32, {1}, std::as_bytes(std::span(values).subspan(i, 1))});
  }
  write_safetensors(path, tensors);
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.tensors().size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(*file.view<float>(concat("layer.", i)), values[i]);
  }
}

}  // namespace eigenformer::safetensors_test
