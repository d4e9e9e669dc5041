// One test for each rule that a header must obey, and for what must be accepted.
#include "eigenformer/io/safetensors_header.hpp"

#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "eigenformer/io/safetensors.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include "safetensors_bytes.hpp"

namespace eigenformer::safetensors_header_test {
using testing::as_byte_span;
using testing::entry;
using testing::safetensors_bytes;
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;

SafetensorsHeader accepted(std::string_view header, std::size_t data_bytes = 0) {
  return parse_safetensors_header(as_byte_span(safetensors_bytes(header, data_bytes)), "a.bin");
}

/// The error of a file with this header; checks that it names the file.
std::string refused_bytes(const std::string& bytes) {
  const std::string message = message_of<FormatError>(
      [&] { (void)parse_safetensors_header(as_byte_span(bytes), "dir/a.safetensors"); });
  EXPECT_TRUE(contains(message, "dir/a.safetensors: "));
  return message;
}
std::string refused(std::string_view header, std::size_t data_bytes = 0) {
  return refused_bytes(safetensors_bytes(header, data_bytes));
}
/// The error of a header with one entry, 'weight'; checks that it names the tensor.
std::string refused_entry(std::string_view fields, std::size_t data_bytes = 0) {
  const std::string message = refused(concat(R"({"weight":)", fields, "}"), data_bytes);
  EXPECT_TRUE(contains(message, "tensor 'weight'"));
  return message;
}

// ---- The length field ----

TEST(SafetensorsHeader, TooSmall) {
  for (std::size_t size = 0; size < 8; ++size) {
    EXPECT_TRUE(contains(refused_bytes(std::string(size, '\0')), concat(size, " bytes")));
  }
}

TEST(SafetensorsHeader, TooLarge) {
  for (const std::uint64_t length :
       {std::uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7, std::uint64_t{1} << 63}) {
    const std::string bytes(reinterpret_cast<const char*>(&length), 8);
    const std::string message = refused_bytes(bytes + "{}");
    EXPECT_TRUE(contains(message, "header too large"));
    EXPECT_TRUE(contains(message, concat(length)));
  }
}

TEST(SafetensorsHeader, LengthBeyondTheFile) {
  std::string bytes = safetensors_bytes("{}");
  for (const char length : {'\3', '\4', 'd'}) {
    bytes[0] = length;
    EXPECT_TRUE(contains(refused_bytes(bytes), "beyond the end of the file"));
  }
  const std::uint64_t limit = 100'000'000;
  const std::string at_limit(reinterpret_cast<const char*>(&limit), 8);
  EXPECT_TRUE(contains(refused_bytes(at_limit), "beyond the end of the file"));
}

// ---- JSON ----

TEST(SafetensorsHeader, InvalidUtf8) {
  for (const char* bytes : {"\xff", "\xc3(", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_TRUE(contains(refused(concat("{\"", bytes, "\":1}")), "UTF-8"));
    EXPECT_TRUE(contains(refused(concat("{}", bytes)), "invalid JSON"));
  }
}

TEST(SafetensorsHeader, InvalidJson) {
  for (const char* text :
       {"", " ", "{", "{]", "{}}", "{}{}", "{} x", "{,}", "{\"a\":}", "{'a':1}",
        "{\"__metadata__\":null,}", "nul", "//x\n{}", "{\"\\ud800\":1}", "{\"a\nb\":1}"}) {
    EXPECT_TRUE(contains(refused(text), "invalid JSON")) << text;
  }
}

TEST(SafetensorsHeader, TrailingNulBytes) {
  EXPECT_TRUE(contains(refused(std::string_view("{}\0\0", 4)), "NUL byte at offset 2"));
}

TEST(SafetensorsHeader, ByteOrderMark) {
  EXPECT_TRUE(contains(refused("\xEF\xBB\xBF{}"), "byte order mark"));
}

TEST(SafetensorsHeader, NumberBeyondDouble) {
  EXPECT_TRUE(contains(
      refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1e999}})"), "1e999"));
}

TEST(SafetensorsHeader, NestingIsCapped) {
  const auto nested = [](std::size_t depth) {
    return concat(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":)",
                  std::string(depth, '['), std::string(depth, ']'), "}}");
  };
  EXPECT_EQ(accepted(nested(125)).tensors.size(), 1u);
  EXPECT_TRUE(contains(refused(nested(126)), "nested deeper than 127"));
  EXPECT_TRUE(contains(refused(nested(1'000'000)), "nested deeper than 127"));
  EXPECT_TRUE(contains(refused(std::string(1'000'000, '[')), "must be a JSON object"));
}

// ---- Types and fields ----

TEST(SafetensorsHeader, MustBeAnObject) {
  for (const char* text : {"[]", "1", "-1", "1.5", "\"a\"", "null", "true", "[{}]"}) {
    EXPECT_TRUE(contains(refused(text), "header must be a JSON object")) << text;
  }
}

TEST(SafetensorsHeader, EntryMustBeAnObject) {
  for (const char* value :
       {"1", "-1", "1.5", "\"F32\"", "null", "false", "[]", R"(["F32",[1],[0,4]])"}) {
    EXPECT_TRUE(contains(refused_entry(value, 4), "must be a JSON object")) << value;
  }
}

TEST(SafetensorsHeader, DtypeMustBeText) {
  for (const char* value : {"1", "null", "[]", "{}", R"({"F32":null})", "true"}) {
    EXPECT_TRUE(contains(
        refused_entry(concat(R"({"dtype":)", value, R"(,"shape":[1],"data_offsets":[0,4]})"), 4),
        "dtype must be text"));
  }
}

TEST(SafetensorsHeader, UnknownDtype) {
  for (const char* name : {"F33", "f32", "", "F32 ", "FLOAT", "F8"}) {
    EXPECT_TRUE(contains(
        refused_entry(concat(R"({"dtype":")", name, R"(","shape":[1],"data_offsets":[0,4]})"), 4),
        concat("unknown dtype '", name, "'")));
  }
}

TEST(SafetensorsHeader, ShapeMustHoldWholeNumbers) {
  const auto with_shape = [](std::string_view shape) {
    return refused_entry(concat(R"({"dtype":"F32","shape":)", shape, R"(,"data_offsets":[0,4]})"),
                         4);
  };
  for (const char* shape : {"[-1]", "[1.0]", "[1e0]", "[-0]", "[\"1\"]", "[null]", "[[1]]", "[{}]",
                            "[true]", "[18446744073709551616]", "[1,1,-1]"}) {
    EXPECT_TRUE(contains(with_shape(shape), "shape must hold whole numbers")) << shape;
  }
  for (const char* shape : {"1", "null", "\"[1]\"", "{}", "{\"0\":1}", "true"}) {
    EXPECT_TRUE(contains(with_shape(shape), "shape must be an array")) << shape;
  }
  EXPECT_TRUE(contains(with_shape("[0,9223372036854775808]"), "9223372036854775808 is too large"));
}

TEST(SafetensorsHeader, OffsetsMustBeTwoWholeNumbers) {
  const auto with_offsets = [](std::string_view offsets) {
    return refused_entry(concat(R"({"dtype":"F32","shape":[1],"data_offsets":)", offsets, "}"), 4);
  };
  for (const char* offsets : {"[-1,4]", "[0,4.0]", "[0,\"4\"]", "[0,null]", "[[0,4]]", "[0,{}]",
                              "[0,18446744073709551616]"}) {
    EXPECT_TRUE(contains(with_offsets(offsets), "data_offsets must hold whole numbers")) << offsets;
  }
  for (const char* offsets : {"[]", "[0]", "[0,4,4]"}) {
    EXPECT_TRUE(contains(with_offsets(offsets), "data_offsets must be two numbers")) << offsets;
  }
  for (const char* offsets : {"0", "null", "{}", "\"\""}) {
    EXPECT_TRUE(contains(with_offsets(offsets), "data_offsets must be an array")) << offsets;
  }
}

TEST(SafetensorsHeader, FieldsMustBeThere) {
  EXPECT_TRUE(contains(refused_entry("{}"), "'dtype' is missing"));
  EXPECT_TRUE(
      contains(refused_entry(R"({"shape":[1],"data_offsets":[0,4]})", 4), "'dtype' is missing"));
  EXPECT_TRUE(
      contains(refused_entry(R"({"dtype":"F32","data_offsets":[0,4]})", 4), "'shape' is missing"));
  EXPECT_TRUE(
      contains(refused_entry(R"({"dtype":"F32","shape":[1]})", 4), "'data_offsets' is missing"));
}

TEST(SafetensorsHeader, FieldsMustNotRepeat) {
  const std::string_view rest = R"("dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  for (const char* field : {R"("dtype":"F32")", R"("shape":[1])", R"("data_offsets":[0,4])"}) {
    EXPECT_TRUE(contains(refused_entry(concat("{", field, ",", rest), 4), "appears twice"));
  }
}

TEST(SafetensorsHeader, Metadata) {
  EXPECT_EQ(accepted(R"({"__metadata__":{"format":"pt","a":""}})").metadata,
            (std::map<std::string, std::string>{{"a", ""}, {"format", "pt"}}));
  EXPECT_TRUE(accepted(R"({"__metadata__":null})").metadata.empty());
  EXPECT_TRUE(accepted(R"({"__metadata__":{}})").metadata.empty());
  EXPECT_EQ(accepted(R"({"__metadata__":{"a":"1","a":"2"}})").metadata.at("a"), "2");
  for (const char* value : {"1", "null", "[]", "{}", "true", "1.5", "-1"}) {
    const std::string message = refused(concat(R"({"__metadata__":{"format":)", value, "}}"));
    EXPECT_TRUE(contains(message, "__metadata__: value of 'format' must be text")) << value;
  }
  for (const char* value : {"1", "\"pt\"", "[]", "true"}) {
    EXPECT_TRUE(contains(refused(concat(R"({"__metadata__":)", value, "}")), "__metadata__"));
  }
}

TEST(SafetensorsHeader, MetadataTwice) {
  for (const char* pair :
       {R"({"__metadata__":{},"__metadata__":{}})", R"({"__metadata__":null,"__metadata__":{}})",
        R"({"__metadata__":{},"\u005f_metadata__":null})"}) {
    EXPECT_TRUE(contains(refused(pair), "__metadata__ appears twice"));
  }
}

// ---- Names (stricter than the reference) ----

TEST(SafetensorsHeader, NameTwice) {
  const std::string a = entry("a", "U8", "[1]", "[0,1]");
  EXPECT_TRUE(contains(refused(concat("{", a, ",", a, "}"), 1), "tensor 'a' appears twice"));
  const std::string escaped = entry("\\u0061", "U8", "[1]", "[1,2]");
  EXPECT_TRUE(contains(refused(concat("{", a, ",", escaped, "}"), 2), "tensor 'a' appears twice"));
}

TEST(SafetensorsHeader, NameWithNul) {
  const std::string header = concat("{", entry("a\\u0000b", "U8", "[1]", "[0,1]"), "}");
  const std::string message = refused(header, 1);
  EXPECT_TRUE(contains(message, "tensor 'a\\x00b'"));
  EXPECT_TRUE(contains(message, "NUL"));
}

TEST(SafetensorsHeader, LongNamesAreCutOffInErrors) {
  const std::string name(10'000, 'x');
  const std::string message = refused(concat("{", entry(name, "U8", "[2]", "[0,1]"), "}"), 1);
  EXPECT_LT(message.size(), 500u);
}

// ---- Offsets ----

TEST(SafetensorsHeader, OffsetsMustStartAtZero) {
  const std::string message =
      refused_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8);
  EXPECT_TRUE(contains(message, "[4, 8]"));
  EXPECT_TRUE(contains(message, "must start at 0"));
}

TEST(SafetensorsHeader, OffsetsMustNotDecrease) {
  EXPECT_TRUE(
      contains(refused_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,0]})", 4), "need 4"));
  const std::string b =
      concat("{", entry("b", "U8", "[4]", "[0,4]"), ",", entry("a", "U8", "[1]", "[4,3]"), "}");
  const std::string message = refused(b, 4);
  EXPECT_TRUE(contains(message, "tensor 'a'"));
  EXPECT_TRUE(contains(message, "[4, 3]"));
}

TEST(SafetensorsHeader, Holes) {
  const std::string message = refused(
      concat("{", entry("a", "U8", "[4]", "[0,4]"), ",", entry("b", "U8", "[3]", "[5,8]"), "}"), 8);
  EXPECT_TRUE(contains(message, "tensor 'b'"));
  EXPECT_TRUE(contains(message, "hole or overlap"));
  EXPECT_TRUE(contains(message, "must start at 4"));
}

TEST(SafetensorsHeader, Overlaps) {
  const std::string partly = refused(
      concat("{", entry("b", "U8", "[4]", "[0,4]"), ",", entry("a", "U8", "[4]", "[3,7]"), "}"), 7);
  EXPECT_TRUE(contains(partly, "tensor 'a'"));
  EXPECT_TRUE(contains(partly, "hole or overlap"));
  EXPECT_TRUE(contains(refused(concat("{", entry("a", "U8", "[4]", "[0,4]"), ",",
                                      entry("b", "U8", "[4]", "[0,4]"), "}"),
                               4),
                       "hole or overlap"));
}

// ---- Sizes ----

TEST(SafetensorsHeader, ShapeOverflows) {
  for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807,3]",
                            "[9223372036854775807,4,0]", "[2305843009213693952]"}) {
    EXPECT_TRUE(contains(
        refused_entry(concat(R"({"dtype":"F32","shape":)", shape, R"(,"data_offsets":[0,0]})")),
        "overflows"))
        << shape;
  }
}

TEST(SafetensorsHeader, SubByteTypesMustFillBytes) {
  const auto fields = [](const char* dtype, int count, int bytes) {
    return concat(R"({"dtype":")", dtype, R"(","shape":[)", count, R"(],"data_offsets":[0,)", bytes,
                  "]}");
  };
  EXPECT_TRUE(contains(refused_entry(fields("F4", 3, 1), 1), "not whole bytes"));
  EXPECT_TRUE(contains(refused_entry(fields("F4", 1, 1), 1), "not whole bytes"));
  EXPECT_TRUE(contains(refused_entry(fields("F6_E2M3", 2, 2), 2), "not whole bytes"));
  EXPECT_TRUE(contains(refused_entry(fields("F6_E3M2", 5, 4), 4), "not whole bytes"));
}

TEST(SafetensorsHeader, SizeMustMatchOffsets) {
  const std::string message =
      refused_entry(R"({"dtype":"F32","shape":[2,3],"data_offsets":[0,20]})", 20);
  EXPECT_TRUE(contains(message, "20 bytes"));
  EXPECT_TRUE(contains(message, "need 24"));
  EXPECT_TRUE(contains(refused_entry(R"({"dtype":"F16","shape":[3],"data_offsets":[0,12]})", 12),
                       "need 6"));
  EXPECT_TRUE(
      contains(refused_entry(R"({"dtype":"U8","shape":[],"data_offsets":[0,0]})"), "need 1"));
}

TEST(SafetensorsHeader, ShortFile) {
  const std::string message =
      refused_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 7);
  EXPECT_TRUE(contains(message, "only 7 bytes"));
  EXPECT_TRUE(contains(refused_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"),
                       "only 0 bytes"));
  EXPECT_TRUE(contains(refused_entry(R"({"dtype":"U8","shape":[1152921504606846976],)"
                                     R"("data_offsets":[0,1152921504606846976]})"),
                       "only 0 bytes"));
}

TEST(SafetensorsHeader, BytesThatBelongToNoTensor) {
  EXPECT_TRUE(contains(refused(concat("{", entry("a", "U8", "[4]", "[0,4]"), "}"), 5),
                       "1 bytes after the last tensor"));
  EXPECT_TRUE(contains(refused("{}", 3), "3 bytes after the last tensor"));
}

// ---- What must be accepted ----

TEST(SafetensorsHeader, AcceptsNoTensors) {
  EXPECT_TRUE(accepted("{}").tensors.empty());
  EXPECT_TRUE(accepted("\n\t\r {} \n\t\r").tensors.empty());
}

TEST(SafetensorsHeader, AcceptsZeroSizesAndScalars) {
  const SafetensorsHeader header = accepted(
      concat("{", entry("empty", "F32", "[0,3]", "[0,0]"), ",",
             entry("scalar", "F64", "[]", "[0,8]"), ",", entry("last", "BF16", "[2,0]", "[8,8]"),
             ",", entry("huge", "F32", "[0,9223372036854775807,9]", "[8,8]"), "}"),
      8);
  ASSERT_EQ(header.tensors.size(), 4u);
  EXPECT_EQ(header.tensors[0].name, "empty");
  EXPECT_EQ(header.tensors[0].numel(), 0);
  EXPECT_EQ(header.tensors[1].name, "scalar");
  EXPECT_EQ(header.tensors[1].numel(), 1);
  EXPECT_EQ(header.tensors[1].bytes(), 8u);
  EXPECT_EQ(header.tensors[3].numel(), 0);
}

TEST(SafetensorsHeader, AcceptsUnknownFields) {
  const SafetensorsHeader header =
      accepted(R"({"a":{"x":{"dtype":[{}]},"dtype":"U8","y":[1,[2]],"shape":[2],"z":null,"z":-1.5,)"
               R"("data_offsets":[0,2],"w":"","v":true}})",
               2);
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].shape, std::vector<Index>{2});
}

TEST(SafetensorsHeader, AcceptsAnyOrderOfEntries) {
  const std::string text =
      concat("{", entry("a", "U8", "[3]", "[5,8]"), ",", entry("c", "F32", "[1]", "[1,5]"), ",",
             entry("b", "BOOL", "[1]", "[0,1]"), R"(,"__metadata__":{}})");
  const SafetensorsHeader header = accepted(text, 8);
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "b");
  EXPECT_EQ(header.tensors[1].name, "c");
  EXPECT_EQ(header.tensors[2].name, "a");
  EXPECT_EQ(header.tensors[1].begin, 8 + text.size() + 1);
  EXPECT_EQ(header.tensors[1].end, 8 + text.size() + 5);
}

TEST(SafetensorsHeader, AcceptsAnyRankAndName) {
  const SafetensorsHeader header =
      accepted(concat("{", entry("", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]"), ",",
                      entry("\\u00e9\\n\\\"/", "U8", "[1]", "[1,2]"), "}"),
               2);
  EXPECT_EQ(header.tensors[0].shape.size(), 12u);
  EXPECT_EQ(header.tensors[1].name, "\xc3\xa9\n\"/");
}

TEST(SafetensorsHeader, KnowsEveryDtype) {
  const struct {
    const char* name;
    int bits;
    bool readable;
  } types[] = {{"BOOL", 8, true},         {"F4", 4, false},          {"F6_E2M3", 6, false},
               {"F6_E3M2", 6, false},     {"U8", 8, true},           {"I8", 8, true},
               {"F8_E5M2", 8, false},     {"F8_E4M3", 8, false},     {"F8_E8M0", 8, false},
               {"F8_E4M3FNUZ", 8, false}, {"F8_E5M2FNUZ", 8, false}, {"I16", 16, true},
               {"U16", 16, true},         {"F16", 16, true},         {"BF16", 16, true},
               {"I32", 32, true},         {"U32", 32, true},         {"F32", 32, true},
               {"C64", 64, false},        {"F64", 64, true},         {"I64", 64, true},
               {"U64", 64, true}};
  for (const auto& type : types) {
    const auto bytes = static_cast<std::size_t>(type.bits * 4 / 8);
    const SafetensorsHeader header =
        accepted(concat("{", entry("a", type.name, "[4]", concat("[0,", bytes, "]")), "}"), bytes);
    ASSERT_EQ(header.tensors.size(), 1u);
    EXPECT_EQ(header.tensors[0].dtype_name, type.name);
    EXPECT_EQ(header.tensors[0].dtype.has_value(), type.readable) << type.name;
    if (type.readable) {
      EXPECT_EQ(name_of(*header.tensors[0].dtype), type.name);
      EXPECT_EQ(size_of(*header.tensors[0].dtype) * 4, bytes);
    }
  }
}

// ---- Attacks ----

TEST(SafetensorsAttack, LengthOverwritten) {
  std::string bytes =
      safetensors_bytes(concat("{", entry("weight", "F32", "[2,2]", "[0,16]"), "}"), 16);
  const std::uint64_t length = 1000;
  bytes.replace(0, 8, reinterpret_cast<const char*>(&length), 8);
  EXPECT_TRUE(contains(refused_bytes(bytes), "beyond the end of the file"));
}

TEST(SafetensorsAttack, HeaderOfMillionsOfEntries) {
  // 10,000,000 entries on the same 16 bytes: the header alone is beyond the limit. The file is
  // sparse; what stops it is the length field, before anything is parsed.
  const TemporaryFolder folder;
  const std::string path = folder / "attack.safetensors";
  const std::uint64_t length = 100'000'001;
  write_file(path, std::string_view(reinterpret_cast<const char*>(&length), 8));
  ASSERT_EQ(::truncate(path.c_str(), 8 + 100'000'001 + 16), 0);
  const std::string message = message_of<FormatError>([&] { (void)SafetensorsFile::open(path); });
  EXPECT_TRUE(contains(message, path));
  EXPECT_TRUE(contains(message, "header too large"));
}

TEST(SafetensorsAttack, ManyTensorsOnTheSameBytes) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header +=
        concat(i == 0 ? "" : ",", entry(concat("weight_", i), "F32", "[200,200]", "[0,160000]"));
  }
  EXPECT_TRUE(contains(refused(header + "}", 160'000), "hole or overlap"));
}

TEST(SafetensorsAttack, EveryPrefixIsRefused) {
  const std::string bytes = safetensors_bytes(
      concat(R"({"__metadata__":{"format":"pt"},)", entry("a", "F32", "[2,2]", "[0,16]"), "}"), 16);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    refused_bytes(bytes.substr(0, size));
  }
}

TEST(SafetensorsAttack, EveryFlippedBitIsRefusedOrHarmless) {
  const std::string original = safetensors_bytes(
      concat(R"({"__metadata__":{"format":"pt"},)", entry("a", "F32", "[2,2]", "[0,16]"), "}"), 16);
  for (std::size_t i = 0; i < (original.size() - 16) * 8; ++i) {
    std::string bytes = original;
    bytes[i / 8] = static_cast<char>(static_cast<unsigned char>(bytes[i / 8]) ^ (1u << (i % 8)));
    try {
      const auto header = parse_safetensors_header(as_byte_span(bytes), "a");
      for (const TensorInfo& info : header.tensors) {
        EXPECT_LE(info.begin, info.end);
        EXPECT_LE(info.end, bytes.size());
      }
    } catch (const FormatError&) {
    }
  }
}

}  // namespace eigenformer::safetensors_header_test
