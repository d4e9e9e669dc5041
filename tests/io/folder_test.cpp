// Updates of several files: readers see the old ones or the new ones, whoever writes, reads or is
// killed at the same time.
#include "eigenformer/io/folder.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "../messages.hpp"
#include "../temporary_folder.hpp"
#include <signal.h>

namespace eigenformer::folder_test {
using tests::contains;
using tests::message_of;
using tests::TemporaryFolder;
using Names = std::vector<std::string>;

/// Writes `version` into two files, one of which takes longer.
void update(const std::string& folder, const std::string& version) {
  FolderUpdate files(folder);
  write_file(files.path() + "/large", version + std::string(100'000, 'x'));
  write_file(files.path() + "/small", version);
  files.commit();
}

/// The version that both files have; fails the test where they differ.
std::string version_of(const std::string& folder) {
  const FolderLock lock(folder, FolderLock::For::reading);
  std::string large = read_file(current_file(folder, "large"));
  const std::string small = read_file(current_file(folder, "small"));
  EXPECT_EQ(large.size(), small.size() + 100'000);
  large.resize(small.size());
  EXPECT_EQ(large, small);
  return small;
}

TEST(FolderUpdate, AllFilesAppearAtOnce) {
  const TemporaryFolder parent;
  const std::string folder = parent / "model";
  update(folder, "old");
  write_file(folder + "/other", "stays");
  {
    FolderUpdate files(folder);
    write_file(files.path() + "/large", "new");
    write_file(files.path() + "/more", "new");
    EXPECT_EQ(version_of(folder), "old");
    EXPECT_FALSE(exists(folder + "/more"));
    files.commit();
    EXPECT_THROW(files.commit(), IoError);
  }
  EXPECT_EQ(read_file(folder + "/large"), "new");
  EXPECT_EQ(read_file(folder + "/more"), "new");
  EXPECT_EQ(read_file(folder + "/small"), "old");
  EXPECT_EQ(read_file(folder + "/other"), "stays");
  EXPECT_EQ(detail::entries_of(folder).size(), 4u);
}

TEST(FolderUpdate, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  update(folder.path(), "old");
  {
    FolderUpdate files(folder.path());
    write_file(files.path() + "/small", "new");
  }
  EXPECT_EQ(version_of(folder.path()), "old");
  EXPECT_EQ(folder.entries(), (Names{"large", "small"}));
}

TEST(FolderUpdate, KeepsPermissions) {
  const TemporaryFolder folder;
  update(folder.path(), "old");
  ::chmod((folder / "small").c_str(), 0604);
  update(folder.path(), "new");
  struct stat status {};
  ASSERT_EQ(::stat((folder / "small").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0604u);
}

TEST(FolderUpdate, ErrorsNameThePath) {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  const auto refused = [](const std::string& path) {
    return message_of<IoError>([&] { const FolderUpdate files(path); });
  };
  EXPECT_TRUE(contains(refused(folder / "file"), folder / "file: cannot be made"));
  EXPECT_TRUE(contains(refused(folder / "no/folder"), folder / "no/folder: cannot be made"));
  std::filesystem::create_directory(folder / "sub");
  FolderUpdate files(folder.path());
  write_file(files.path() + "/file", "y");
  write_file(files.path() + "/sub", "y");
  EXPECT_TRUE(contains(message_of<IoError>([&] { files.commit(); }), folder / "sub"));
  EXPECT_EQ(read_file(folder / "file"), "x");
}

TEST(FolderUpdate, FullDiskLeavesTheOldFiles) {
  const TemporaryFolder folder;
  update(folder.path(), "old");
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 50'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of<IoError>([&] { update(folder.path(), "new"); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(contains(message, folder.path()));
  EXPECT_TRUE(contains(message, "File too large"));
  EXPECT_EQ(version_of(folder.path()), "old");
  EXPECT_EQ(folder.entries(), (Names{"large", "small"}));
}

/// What a writer leaves that is killed between its last renames.
TEST(FolderUpdate, InterruptedMovesAreReadAndFinished) {
  const TemporaryFolder folder;
  update(folder.path(), "old");
  const auto interrupt = [&] {
    FolderUpdate files(folder.path());
    write_file(folder / "large", "new" + std::string(100'000, 'x'));  // has been moved already
    std::filesystem::create_directory(folder / ".saved");
    write_file(folder / ".saved/small", "new");
  };
  interrupt();
  EXPECT_EQ(version_of(folder.path()), "new");
  EXPECT_EQ(read_file(folder / "small"), "old");
  {
    FolderUpdate files(folder.path());
    write_file(files.path() + "/third", "");
    files.commit();
  }
  EXPECT_EQ(version_of(folder.path()), "new");
  EXPECT_EQ(read_file(folder / "small"), "new");
  interrupt();
  finish_update(folder.path());
  EXPECT_EQ(read_file(folder / "small"), "new");
  EXPECT_EQ(folder.entries(), (Names{"large", "small", "third"}));
  finish_update(folder.path());  // there is none
  interrupt();
  update(folder.path(), "newer");
  EXPECT_EQ(version_of(folder.path()), "newer");
  EXPECT_EQ(folder.entries(), (Names{"large", "small", "third"}));
}

TEST(FolderUpdate, AbandonedOnesAreRemovedAndLiveOnesAreNot) {
  const TemporaryFolder folder;
  update(folder.path(), "old");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    FolderUpdate files(folder.path());
    write_file(files.path() + "/small", "never");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(folder.entries().size(), 3u);
  FolderUpdate first(folder.path());
  EXPECT_EQ(folder.entries().size(), 3u) << "what was abandoned is still there";
  write_file(first.path() + "/small", "first");
  {
    FolderUpdate second(folder.path());
    write_file(second.path() + "/small", "second");
    second.commit();
  }
  first.commit();
  EXPECT_EQ(read_file(folder / "small"), "first");
  EXPECT_EQ(folder.entries(), (Names{"large", "small"}));
}

TEST(FolderUpdate, KilledAtAnyMomentLeavesOneVersion) {
  const TemporaryFolder folder;
  const auto begin = std::chrono::steady_clock::now();
  update(folder.path(), "start");
  const std::chrono::duration<double, std::micro> one = std::chrono::steady_clock::now() - begin;
  std::uniform_real_distribution<double> moment(0, 3 * one.count());
  std::minstd_rand random(1);
  double patience = 1;  // grows where other work lets no child get as far as an update
  std::string last;
  int changed = 0;
  for (int round = 0; round < 80 || changed <= 10; ++round) {
    ASSERT_LT(round, 1000) << "the child is killed too early";
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int i = 0;; ++i) update(folder.path(), concat("round ", round, ", update ", i));
    }
    ::usleep(static_cast<useconds_t>(patience * moment(random)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const std::string version = version_of(folder.path());
    if (version != last)
      ++changed;
    else
      patience = std::min(1.02 * patience, 1000.0);
    last = version;
    ASSERT_FALSE(::testing::Test::HasFailure()) << round;
  }
  update(folder.path(), "end");
  EXPECT_EQ(version_of(folder.path()), "end");
  EXPECT_EQ(folder.entries(), (Names{"large", "small"}));
}

TEST(FolderUpdate, WritersAndReadersAtOnce) {
  const TemporaryFolder folder;
  update(folder.path(), "start");
  std::atomic<int> writing = 3;
  std::vector<std::jthread> threads;
  for (int writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&, writer] {
      for (int i = 0; i < 40; ++i) update(folder.path(), concat("writer ", writer, ", ", i));
      --writing;
    });
  }
  std::string last = "start";
  int changes = 0;
  while (writing > 0) {
    const std::string version = version_of(folder.path());
    changes += version != last;
    last = version;
  }
  threads.clear();
  EXPECT_GT(changes, 0);
  EXPECT_TRUE(contains(version_of(folder.path()), "39"));
  EXPECT_EQ(folder.entries(), (Names{"large", "small"}));
}

}  // namespace eigenformer::folder_test
