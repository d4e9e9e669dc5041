#include "eigenformer/io/file.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eigenformer/io/mapped_file.hpp"

#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include <signal.h>

namespace eigenformer::file_test {
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;
using Names = std::vector<std::string>;

TEST(File, ReadsWhatWasWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 65537u, 1000000u}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31);
    write_file(path, bytes);
    EXPECT_EQ(read_file(path), bytes);
    EXPECT_EQ(folder.entries(), Names{"file"});
  }
}

TEST(File, ErrorsNamePathAndReason) {
  const TemporaryFolder folder;
  const std::string missing = folder / "missing";
  const std::string message = message_of<IoError>([&] { (void)read_file(missing); });
  EXPECT_TRUE(contains(message, missing));
  EXPECT_TRUE(contains(message, "No such file"));
  EXPECT_TRUE(
      contains(message_of<IoError>([&] { (void)read_file(folder.path()); }), "Is a directory"));
  EXPECT_TRUE(contains(message_of<IoError>([&] { write_file(folder.path(), "x"); }), "folder"));
  const std::string nowhere = folder / "no/such/folder/file";
  EXPECT_TRUE(contains(message_of<IoError>([&] { write_file(nowhere, "x"); }), nowhere));
}

TEST(File, UnreadableFileIsAnError) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const TemporaryFolder folder;
  const std::string path = folder / "secret";
  write_file(path, "x");
  ::chmod(path.c_str(), 0);
  EXPECT_TRUE(contains(message_of<IoError>([&] { (void)read_file(path); }), "Permission denied"));
  EXPECT_TRUE(
      contains(message_of<IoError>([&] { (void)MappedFile::open(path); }), "Permission denied"));
}

TEST(File, ExistsAndIsDirectory) {
  const TemporaryFolder folder;
  EXPECT_TRUE(exists(folder.path()));
  EXPECT_TRUE(is_directory(folder.path()));
  EXPECT_FALSE(exists(folder / "file"));
  write_file(folder / "file", "");
  EXPECT_TRUE(exists(folder / "file"));
  EXPECT_FALSE(is_directory(folder / "file"));
}

TEST(File, JoinsPaths) {
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("/", "b"), "/b");
  EXPECT_EQ(join_path("", "b"), "b");
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  const std::string path = folder / "model";
  {
    AtomicFile file(path);
    file.write("half");
    EXPECT_FALSE(exists(path));
    EXPECT_EQ(folder.entries().size(), 1u);
  }
  EXPECT_EQ(folder.entries(), Names{});
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.entries(), Names{"model"});
}

TEST(AtomicFile, KeepsPermissionsAndObeysUmask) {
  const TemporaryFolder folder;
  const std::string path = folder / "model";
  const auto mode = [&] {
    struct stat status {};
    ::stat(path.c_str(), &status);
    return status.st_mode & 0777u;
  };
  const mode_t before = ::umask(027);
  write_file(path, "x");
  ::umask(before);
  EXPECT_EQ(mode(), 0640u);
  ::chmod(path.c_str(), 0604);
  write_file(path, "y");
  EXPECT_EQ(mode(), 0604u);
}

TEST(AtomicFile, ReplacesALinkAndNotItsTarget) {
  const TemporaryFolder folder;
  write_file(folder / "target", "old");
  ASSERT_EQ(::symlink("target", (folder / "link").c_str()), 0);
  write_file(folder / "link", "new");
  EXPECT_EQ(read_file(folder / "target"), "old");
  EXPECT_EQ(read_file(folder / "link"), "new");
}

TEST(AtomicFile, TwoAtOnceDoNotMeet) {
  const TemporaryFolder folder;
  const std::string path = folder / "model";
  AtomicFile first(path), second(path);
  first.write("first");
  second.write("second");
  first.commit();
  EXPECT_EQ(read_file(path), "first");
  second.commit();
  EXPECT_EQ(read_file(path), "second");
  EXPECT_THROW(second.write("more"), IoError);
  EXPECT_THROW(second.commit(), IoError);
  EXPECT_EQ(folder.entries(), Names{"model"});
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "model";
  write_file(path, "old");
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string large =
      message_of<IoError>([&] { write_file(path, std::string(1'000'000, 'x')); });
  const std::string buffered = message_of<IoError>([&] {  // noticed by commit() only
    AtomicFile file(path);
    for (int i = 0; i < 4097; ++i) file.write("x", 1);
    file.commit();
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(contains(large, path));
  EXPECT_TRUE(contains(large, "File too large"));
  EXPECT_TRUE(contains(buffered, "File too large"));
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.entries(), Names{"model"});
}

TEST(AtomicFile, KilledWriterLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "model";
  write_file(path, "old");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    AtomicFile file(path);
    file.write(std::string(100'000, 'x'));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(path), "old");
}

TEST(MappedFile, ShowsTheBytes) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_file(path, "hello");
  const auto file = MappedFile::open(path);
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(file->size(), 5u);
  EXPECT_EQ(std::memcmp(file->bytes().data(), "hello", 5), 0);
}

TEST(MappedFile, WritesStayPrivate) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_file(path, "hello");
  const auto file = MappedFile::open(path);
  const auto other = MappedFile::open(path);
  const_cast<std::byte*>(file->data())[0] = std::byte{'J'};
  EXPECT_EQ(std::memcmp(file->data(), "Jello", 5), 0);
  EXPECT_EQ(std::memcmp(other->data(), "hello", 5), 0);
  EXPECT_EQ(read_file(path), "hello");
}

TEST(MappedFile, ReadsPastTheMapping) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_file(path, "0123456789");
  const auto file = MappedFile::open(path);
  const_cast<std::byte*>(file->data())[4] = std::byte{'x'};  // in this process's memory alone
  std::string read(3, ' ');
  file->read(3, std::as_writable_bytes(std::span(read)));
  EXPECT_EQ(read, "345");
  file->read(10, {});
  EXPECT_TRUE(
      contains(message_of<IoError>([&] { file->read(8, std::as_writable_bytes(std::span(read))); }),
               path + ": ends at byte 10, 1 bytes too early"));
}

TEST(MappedFile, OutlivesReplacementAndRemoval) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_file(path, "hello");
  const auto file = MappedFile::open(path);
  write_file(path, "x");
  EXPECT_EQ(std::memcmp(file->data(), "hello", 5), 0);
  ::unlink(path.c_str());
  EXPECT_EQ(std::memcmp(file->data(), "hello", 5), 0);
}

TEST(MappedFile, ErrorsNamePathAndReason) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const auto refused = [](const std::string& name) {
    return message_of<IoError>([&] { (void)MappedFile::open(name); });
  };
  EXPECT_TRUE(contains(refused(path), path));
  EXPECT_TRUE(contains(refused(path), "No such file"));
  write_file(path, "");
  EXPECT_TRUE(contains(refused(path), path + ": cannot be mapped: it is empty"));
  EXPECT_TRUE(contains(refused(folder.path()), "it is a folder"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(refused(folder / "pipe"), "not a regular file"));
}

}  // namespace eigenformer::file_test
