// Agreement with the reference implementation, safetensors 0.8.0: the same bytes written, the same
// files refused, the same tensors read. tests/oracle/safetensors_cases.py makes the fixtures; set
// EIGENFORMER_HEADERS to another headers.bin to compare more cases.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/json.hpp"
#include "eigenformer/io/safetensors.hpp"

#include "../temporary_folder.hpp"
#include "safetensors_bytes.hpp"

namespace eigenformer::safetensors_reference_test {
using testing::as_byte_span;
using tests::TemporaryFolder;

const std::string fixtures = EIGENFORMER_FIXTURES "/io/safetensors/";

/// Name, type and shape; the bytes follow from the position in the list.
struct Described {
  std::string name;
  DType dtype;
  Shape shape;
};

/// Writes the tensors, in the given and in reversed order, and expects the reference's bytes.
void expect_reference_bytes(const std::string& fixture, const std::vector<Described>& described,
                            const std::map<std::string, std::string>& metadata = {}) {
  const std::string expected = read_file(fixtures + fixture);
  std::vector<std::vector<std::byte>> data;
  std::vector<TensorToWrite> tensors;
  for (std::size_t t = 0; t < described.size(); ++t) {
    const Described& d = described[t];
    std::vector<std::byte> bytes(static_cast<std::size_t>(d.shape.numel()) * size_of(d.dtype));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>((t * 101 + i * 37 + 11) % 256);
    }
    data.push_back(std::move(bytes));
    tensors.push_back({d.name, d.dtype, d.shape, data.back()});
  }
  const TemporaryFolder folder;
  const std::string path = folder / "written.safetensors";
  for (int round = 0; round < 2; ++round) {
    write_safetensors(path, tensors, metadata);
    EXPECT_EQ(read_file(path), expected) << fixture;
    std::reverse(tensors.begin(), tensors.end());
  }
  const auto file = SafetensorsFile::open(fixtures + fixture);
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), described.size());
  for (const TensorToWrite& tensor : tensors) {
    EXPECT_EQ(file.info(tensor.name).dtype, tensor.dtype);
    EXPECT_EQ(file.shape(tensor.name), tensor.shape);
    const auto bytes = file.bytes(tensor.name);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), tensor.bytes.begin(), tensor.bytes.end()));
  }
}

TEST(SafetensorsReference, WritesTheSameBytes) {
  expect_reference_bytes("written_empty.safetensors", {});
  expect_reference_bytes("written_metadata.safetensors", {}, {{"framework", "pt"}});
  expect_reference_bytes("written_one.safetensors", {{"attn.0", DType::f32, {1, 2, 3}}});
  expect_reference_bytes("written_padded.safetensors", {{"attn0", DType::f32, {1, 1, 2, 3}}});
}

TEST(SafetensorsReference, WritesTheSameBytesForEveryType) {
  const DType types[] = {DType::bf16, DType::boolean, DType::f16, DType::f32, DType::f64,
                         DType::i16,  DType::i32,     DType::i64, DType::i8,  DType::u16,
                         DType::u32,  DType::u64,     DType::u8};  // sorted by name
  std::vector<Described> tensors;
  int i = 0;
  for (const DType type : types) tensors.push_back({concat("t", i++), type, {3, 1}});
  i = 0;
  for (const DType type : types) tensors.push_back({concat("a", i++), type, {2}});
  expect_reference_bytes("written_types.safetensors", tensors, {{"format", "pt"}});
}

TEST(SafetensorsReference, WritesTheSameBytesForStrangeNames) {
  std::vector<Described> tensors;
  for (const char* name :
       {"", "b", "a", "a.b", "a b", "A", "aa", "\xc3\xa9", "\xf0\x9f\x98\x80", "\"\\/",
        "\x01\n\t\r\b\f\x1f\x7f", "z\xe2\x80\xa8", "layer.10.w", "layer.9.w"}) {
    tensors.push_back({name, DType::i16, {1}});
  }
  expect_reference_bytes("written_names.safetensors", tensors, {{"format\n\xc3\xa9", "p\"t\x02"}});
}

TEST(SafetensorsReference, WritesTheSameBytesForStrangeShapes) {
  expect_reference_bytes("written_shapes.safetensors",
                         {{"scalar", DType::f64, {}},
                          {"none", DType::f32, {0}},
                          {"none2", DType::f32, {3, 0, 2}},
                          {"eight", DType::u8, {1, 2, 1, 1, 1, 1, 1, 3}},
                          {"half", DType::bf16, {5}}},
                         {{"format", "pt"}});
}

TEST(SafetensorsReference, LengthsOfTheFormatsOwnExamples) {
  const auto length = [](const std::string& name) {
    return static_cast<int>(read_file(fixtures + name)[0]);
  };
  EXPECT_EQ(length("written_empty.safetensors"), 8);
  EXPECT_EQ(length("written_metadata.safetensors"), 40);
  EXPECT_EQ(length("written_one.safetensors"), 64);
  EXPECT_EQ(length("written_padded.safetensors"), 72);
}

/// The tensors as JSON rows [name, dtype, shape, bytes in hexadecimal], sorted by name.
std::string summary_of(const std::string& bytes, const SafetensorsHeader& header) {
  Json rows = Json::array();
  for (const TensorInfo& info : header.tensors) {
    std::string hex;
    for (std::size_t i = info.begin; i < info.end; ++i) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      hex += "0123456789abcdef"[byte >> 4];
      hex += "0123456789abcdef"[byte & 15u];
    }
    rows.push_back(Json::array({info.name, info.dtype_name, info.shape, hex}));
  }
  std::sort(rows.begin(), rows.end());
  return rows.dump();
}

TEST(SafetensorsReference, AgreesOnEveryHeader) {
  const char* other = std::getenv("EIGENFORMER_HEADERS");
  const std::string cases = read_file(other != nullptr ? other : fixtures + "headers.bin");
  std::size_t at = 0;
  int counts[3] = {};
  while (at < cases.size()) {
    ASSERT_LE(at + 9, cases.size());
    const int verdict = cases[at];  // 0 refused, 1 taken, 2 taken by the reference only
    std::uint32_t size = 0, summary_size = 0;
    std::memcpy(&size, &cases[at + 1], 4);
    std::memcpy(&summary_size, &cases[at + 5], 4);
    at += 9;
    const std::string bytes = cases.substr(at, size);
    const std::string expected = cases.substr(at + size, summary_size);
    at += size + summary_size;
    ASSERT_TRUE(verdict >= 0 && verdict <= 2);
    ++counts[verdict];
    try {
      const SafetensorsHeader header = parse_safetensors_header(as_byte_span(bytes), "case");
      EXPECT_EQ(verdict, 1) << "taken: " << bytes.substr(std::min<std::size_t>(8, size));
      if (verdict == 1) {
        EXPECT_EQ(summary_of(bytes, header), expected);
      }
    } catch (const FormatError& problem) {
      EXPECT_NE(verdict, 1) << problem.what()
                            << "\nrefused: " << bytes.substr(std::min<std::size_t>(8, size));
    }
  }
  EXPECT_GE(counts[0], 400);
  EXPECT_GE(counts[1], 100);
  EXPECT_GE(counts[2], 10);
  RecordProperty("refused", counts[0]);
  RecordProperty("taken", counts[1]);
  RecordProperty("stricter", counts[2]);
}

}  // namespace eigenformer::safetensors_reference_test
