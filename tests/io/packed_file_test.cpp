// Packed files: what is written is read where it lies; what is damaged or made for others is
// refused; who opens a file twice maps it once.
#include "eigenformer/io/packed_file.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace eigenformer::packed_file_test {
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;

constexpr const char* config = "{\"vocab_size\": 7, \"checksum\":\"none\"}";

/// The tensors of every file here, with numbers of odd sizes before and between the packs.
struct Contents {
  std::vector<float> bias{1, 2, 3};
  std::vector<std::uint32_t> words = std::vector<std::uint32_t>(32, 0xabcdef01u);
  std::vector<float> norm{4, 5};
  std::vector<std::uint32_t> more_words = std::vector<std::uint32_t>(16, 7);

  [[nodiscard]] std::vector<TensorToWrite> tensors() const {
    return {{"bias", DType::f32, {3}, std::as_bytes(std::span(bias))},
            {"w.packed", DType::u32, {32}, std::as_bytes(std::span(words))},
            {"norm", DType::f32, {2}, std::as_bytes(std::span(norm))},
            {"a.packed", DType::u32, {16}, std::as_bytes(std::span(more_words))}};
  }
};

void write(const std::string& path, Precision precision = Precision::int8) {
  const Contents contents;
  write_packed_file(path, contents.tensors(), precision, config);
}

/// Writes a file with a right checksum, whatever else its metadata say.
void write_with(const std::string& path, const std::map<std::string, std::string>& metadata) {
  const Contents contents;
  const std::vector<TensorToWrite> tensors = contents.tensors();
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::string header = detail::safetensors_header(path, order, metadata, 64);
  if (metadata.contains("checksum")) detail::seal_header(header);
  detail::write_safetensors_file(path, header, order);
}

/// A new file, without the wait for the disk that write_file() is for.
void put(const std::string& path, const std::string& bytes) {
  std::remove(path.c_str());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string refused(const std::string& path) {
  const std::string message = message_of<FormatError>([&] { (void)PackedFile::open(path); });
  EXPECT_TRUE(contains(message, path));
  EXPECT_TRUE(contains(message, "convert it again"));
  return message;
}

TEST(PackedFile, ComesBackAsItWasWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  for (const Precision precision : {Precision::full, Precision::bf16, Precision::int8}) {
    write(path, precision);
    const PackedFile file = PackedFile::open(path);
    EXPECT_EQ(file.path(), path);
    EXPECT_EQ(file.precision(), precision);
    EXPECT_EQ(file.config(), config);
    const Contents contents;
    const SafetensorsFile& tensors = file.tensors();
    EXPECT_EQ(tensors.names(), (std::vector<std::string>{"w.packed", "a.packed", "bias", "norm"}));
    for (const TensorToWrite& written : contents.tensors()) {
      const std::span<const std::byte> bytes = tensors.bytes(written.name);
      EXPECT_TRUE(std::ranges::equal(bytes, written.bytes)) << written.name;
      if (written.dtype == DType::u32) {
        EXPECT_EQ(tensors.info(written.name).begin % 64, 0u) << written.name;
      }
    }
    EXPECT_TRUE(file.contains("w") && file.contains("bias"));
    EXPECT_FALSE(file.contains("norm.packed") || file.contains("b"));
  }
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"file"});
}

TEST(PackedFile, IsMappedOnceForAll) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write(path);
  std::weak_ptr<const MappedFile> released;
  {
    const PackedFile one = PackedFile::open(path);
    const PackedFile other = PackedFile::open(folder.path() + "/./file");
    EXPECT_EQ(one.tensors().mapping(), other.tensors().mapping());
    EXPECT_NE(MappedFile::open(path)->data(), one.tensors().mapping()->data());

    write(path, Precision::bf16);  // another file under the same name
    const PackedFile replaced = PackedFile::open(path);
    EXPECT_NE(one.tensors().mapping(), replaced.tensors().mapping());
    EXPECT_EQ(one.precision(), Precision::int8);
    EXPECT_EQ(replaced.precision(), Precision::bf16);
    released = replaced.tensors().mapping();
  }
  EXPECT_TRUE(released.expired());
  EXPECT_EQ(PackedFile::open(path).precision(), Precision::bf16);
}

TEST(PackedFile, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write(path);
  const std::string bytes = read_file(path);
  for (std::size_t length = 1; length < bytes.size(); ++length) {
    put(path, bytes.substr(0, length));
    (void)refused(path);
  }
  write_file(path, bytes + '\0');
  (void)refused(path);
}

TEST(PackedFile, EveryFlippedByteOfTheHeaderIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write(path);
  const std::string bytes = read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  for (std::size_t i = 0; i < sizeof(length) + length; ++i) {
    for (const int flip : {1 << (i % 8), 0x20, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      put(path, changed);
      (void)refused(path);
    }
  }
}

TEST(PackedFile, WhatOthersWroteIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const std::map<std::string, std::string> right{{"format", "eigenformer.packed"},
                                                 {"version", "1"},
                                                 {"byte_order", "little"},
                                                 {"precision", "int8"},
                                                 {"config", config},
                                                 {"checksum", std::string(16, '0')}};
  write_with(path, right);
  EXPECT_EQ(PackedFile::open(path).precision(), Precision::int8);

  const auto with = [&](const char* key, const char* value) {
    auto metadata = right;
    metadata[key] = value;
    write_with(path, metadata);
    return refused(path);
  };
  EXPECT_TRUE(contains(with("format", "pt"), "its format is 'pt', not eigenformer.packed"));
  EXPECT_TRUE(contains(with("version", "2"), "its version is '2', not 1"));
  EXPECT_TRUE(contains(with("byte_order", "big"), "its byte_order is 'big', not little"));
  EXPECT_TRUE(contains(with("precision", "int4"), "its precision is 'int4', not float, bf16 or"));
  EXPECT_TRUE(contains(with("precision", "full"), "'full'"));
  for (const auto& entry : right) {
    auto metadata = right;
    metadata.erase(entry.first);
    write_with(path, metadata);
    EXPECT_TRUE(contains(refused(path), entry.first));
  }

  write(path);
  std::string bytes = read_file(path);
  const std::size_t digits = bytes.find("\"checksum\":\"") + 12;
  bytes.replace(digits, 16, "0123456789abcdef");
  write_file(path, bytes);
  EXPECT_TRUE(contains(refused(path), "its checksum is '0123456789abcdef', not "));

  write_safetensors(path, Contents().tensors(), {{"format", "pt"}});
  EXPECT_TRUE(contains(refused(path), "'pt'"));
  write_safetensors(path, {});
  EXPECT_TRUE(contains(refused(path), "its format is ''"));
  write_file(path, "{\"model_type\": \"roberta\"}");
  (void)refused(path);
  EXPECT_THROW((void)PackedFile::open(folder / "none"), IoError);
  EXPECT_THROW((void)PackedFile::open(folder.path()), IoError);
}

TEST(PackedFile, FailureLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write(path);
  const std::string before = read_file(path);
  Contents contents;
  std::vector<TensorToWrite> tensors = contents.tensors();
  tensors[0].shape = {4};
  EXPECT_THROW(write_packed_file(path, tensors, Precision::full, config), FormatError);
  EXPECT_THROW(write_packed_file(path, {}, Precision::full, "\xff"), FormatError);
  EXPECT_EQ(read_file(path), before);
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"file"});
}

TEST(Files, FolderOf) {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  EXPECT_EQ(folder_of(folder / "file"), folder.path() + "/");
  EXPECT_EQ(folder_of(folder.path()), folder.path());
  EXPECT_EQ(folder_of(folder / "none"), folder / "none");
  EXPECT_TRUE(is_file(folder / "file"));
  EXPECT_FALSE(is_file(folder.path()) || is_file(folder / "none"));
}

}  // namespace eigenformer::packed_file_test
