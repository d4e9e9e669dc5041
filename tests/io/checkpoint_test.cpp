#include "eigenformer/io/checkpoint.hpp"

#include <unistd.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"

namespace eigenformer::checkpoint_test {
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;
using Names = std::vector<std::string>;

/// Writes a file of one-element F32 tensors.
void write_file_of(const std::string& path, const std::vector<std::pair<std::string, float>>& all,
                   const std::string& format = "pt") {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, value] : all) {
    tensors.push_back({name, DType::f32, {1}, std::as_bytes(std::span(&value, 1))});
  }
  write_safetensors(path, tensors, {{"format", format}});
}

float value_of(const Checkpoint& checkpoint, const std::string& name) {
  float value = 0;
  checkpoint.read<float>(name, std::span(&value, 1));
  return value;
}

class Sharded : public ::testing::Test {
 protected:
  const TemporaryFolder folder;
  const std::string index = folder / "model.safetensors.index.json";
  const std::string first = folder / "model-00001-of-00002.safetensors";
  const std::string second = folder / "model-00002-of-00002.safetensors";

  void SetUp() override {
    write_file_of(first, {{"b", 1}, {"c", 2}});
    write_file_of(second, {{"a", 3}});
    write_map(R"("a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors",)"
              R"("c":"model-00001-of-00002.safetensors")");
  }
  void write_map(const std::string& entries) const {
    write_file(index, R"({"metadata":{"total_size":12},"weight_map":{)" + entries + "}}");
  }
  [[nodiscard]] std::string refused() const {
    return message_of<FormatError>([&] { (void)Checkpoint::open(folder.path()); });
  }
};

TEST(Checkpoint, OneFile) {
  const TemporaryFolder folder;
  write_file_of(folder / "model.safetensors", {{"b", 1}, {"a", 2}});
  for (const std::string& path :
       {folder.path(), folder.path() + "/", folder / "model.safetensors"}) {
    const auto checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.path(), path);
    EXPECT_EQ(checkpoint.names(), (Names{"a", "b"}));
    EXPECT_EQ(checkpoint.size(), 2u);
    EXPECT_EQ(checkpoint.files().size(), 1u);
    EXPECT_EQ(value_of(checkpoint, "a"), 2.0f);
    EXPECT_EQ(value_of(checkpoint, "b"), 1.0f);
    EXPECT_TRUE(checkpoint.contains("a"));
    EXPECT_FALSE(checkpoint.contains("c"));
    const std::string message = message_of<FormatError>([&] { (void)checkpoint.info("c"); });
    EXPECT_TRUE(contains(message, path + ": has no tensor 'c'"));
  }
}

TEST(Checkpoint, NothingThere) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& path) {
    const std::string message = message_of<IoError>([&] { (void)Checkpoint::open(path); });
    EXPECT_TRUE(contains(message, path));
    return message;
  };
  EXPECT_TRUE(contains(refused(folder / "no"), "no such file or folder"));
  std::string message = refused(folder.path());
  EXPECT_TRUE(contains(message, "model.safetensors "));
  EXPECT_TRUE(contains(message, "model.safetensors.index.json"));
  EXPECT_FALSE(contains(message, "pytorch_model.bin"));
  write_file(folder / "pytorch_model.bin", "x");
  message = refused(folder.path());
  EXPECT_TRUE(contains(message, "pytorch_model.bin must be converted to safetensors"));
}

TEST(Checkpoint, UnknownFramework) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  write_file_of(path, {{"a", 1}}, "np");
  const std::string message =
      message_of<FormatError>([&] { (void)Checkpoint::open(folder.path()); });
  EXPECT_TRUE(contains(message, path));
  EXPECT_TRUE(contains(message, "'np'"));
}

TEST_F(Sharded, ReadsFromTheRightFile) {
  for (const std::string& path : {folder.path(), index}) {
    const auto checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.names(), (Names{"a", "b", "c"}));
    ASSERT_EQ(checkpoint.files().size(), 2u);
    EXPECT_EQ(checkpoint.files()[0].path(), first);
    EXPECT_EQ(value_of(checkpoint, "a"), 3.0f);
    EXPECT_EQ(value_of(checkpoint, "b"), 1.0f);
    EXPECT_EQ(value_of(checkpoint, "c"), 2.0f);
    EXPECT_EQ(checkpoint.file("a").path(), second);
    EXPECT_EQ(*checkpoint.view<float>("c"), 2.0f);
    EXPECT_EQ(checkpoint.mapping("c")->path(), first);
    EXPECT_EQ(checkpoint.shape("c"), Shape{1});
    EXPECT_EQ(checkpoint.info("c").dtype, DType::f32);
    EXPECT_EQ(checkpoint.bytes("c").size(), 4u);
    float value = 0;
    checkpoint.read_range<float>("a", 0, std::span(&value, 1));
    EXPECT_EQ(value, 3.0f);
    checkpoint.read_rows<float>("b", 0, 1, std::span(&value, 1));
    EXPECT_EQ(value, 1.0f);
  }
}

TEST_F(Sharded, OneFileWinsOverTheIndex) {
  write_file_of(folder / "model.safetensors", {{"a", 9}});
  const auto checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.names(), Names{"a"});
  EXPECT_EQ(value_of(checkpoint, "a"), 9.0f);
}

TEST_F(Sharded, TensorsThatTheIndexOmitsCount) {
  write_file_of(second, {{"a", 3}, {"extra", 4}});
  const auto checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(value_of(checkpoint, "extra"), 4.0f);
}

TEST_F(Sharded, ListedTensorMustBeInItsFile) {
  write_map(R"("a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors")");
  const std::string message = refused();
  EXPECT_TRUE(contains(message, index + ": tensor 'a' is not in " + first));
}

TEST_F(Sharded, TensorInTwoFiles) {
  write_file_of(second, {{"a", 3}, {"b", 4}});
  const std::string message = refused();
  EXPECT_TRUE(contains(message, second + ": tensor 'b' is also in " + first));
}

TEST_F(Sharded, MissingFile) {
  ::unlink(second.c_str());
  const std::string message = message_of<IoError>([&] { (void)Checkpoint::open(folder.path()); });
  EXPECT_TRUE(contains(message, second));
  EXPECT_TRUE(contains(message, "is listed in " + index + " but missing"));
}

TEST_F(Sharded, FileNamesMustBePlain) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/b", "a\\\\b", "", ".", "..",
                           "a\\u0000b", "./model-00001-of-00002.safetensors"}) {
    write_map(concat(R"("a":")", name, "\""));
    const std::string message = refused();
    EXPECT_TRUE(contains(message, index + ": tensor 'a'")) << name;
    EXPECT_TRUE(contains(message, "not the name of a file beside it")) << name;
  }
}

TEST_F(Sharded, IndexMustBeAMap) {
  for (const char* text : {"[]", "1", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})",
                           R"({"weight_map":null})"}) {
    write_file(index, text);
    EXPECT_TRUE(contains(refused(), index + ": 'weight_map' must be an object")) << text;
  }
  write_map(R"("a":1)");
  EXPECT_TRUE(contains(refused(), index + ": tensor 'a': its file must be text"));
  write_map(R"("a":"x","a":"y")");
  EXPECT_TRUE(contains(refused(), "'a' appears twice"));
}

TEST_F(Sharded, BrokenShardIsNamed) {
  write_file(second, "{}");
  EXPECT_TRUE(contains(refused(), second));
}

}  // namespace eigenformer::checkpoint_test
