#include "eigenformer/threading/cpu_count.hpp"

#include <climits>
#include <cstdio>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "../temporary_folder.hpp"

namespace cpu_count_test {

namespace ef = eigenformer;

/// A folder with what a test wants to be in /sys and /proc.
class FakeRoot : public ef::tests::TemporaryFolder {
 public:
  void write(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = *this / file;
    std::filesystem::create_directories(path.parent_path());
    std::FILE* stream = std::fopen(path.c_str(), "w");
    ASSERT_NE(stream, nullptr) << path;
    std::fputs(text.c_str(), stream);
    std::fclose(stream);
  }
  void write_siblings(int cpu, const std::string& siblings) const {
    write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
          siblings + "\n");
  }
  /// A limit of a control group as version 1 writes it.
  void write_version_1(const std::string& folder, long quota, long period) const {
    write(folder + "/cpu.cfs_quota_us", std::to_string(quota) + "\n");
    write(folder + "/cpu.cfs_period_us", std::to_string(period) + "\n");
  }
  [[nodiscard]] long quota() const { return ef::detail::cpu_quota(path()); }
};

TEST(AvailableCores, AtLeastOneAndNoMoreThanCpus) {
  EXPECT_GE(ef::available_cores(), 1);
  EXPECT_LE(ef::available_cores(), ef::available_cpus());
  EXPECT_FALSE(ef::detail::allowed_cpus().empty());
}

TEST(AvailableCores, SiblingsAreOneCore) {
  const FakeRoot root;
  root.write_siblings(0, "0,4");
  root.write_siblings(4, "0,4");
  root.write_siblings(2, "2-3");
  root.write_siblings(3, "2-3");
  root.write_siblings(16, "16");  // a slow core without siblings
  root.write_siblings(1500, "500,1500");
  EXPECT_EQ(ef::detail::count_cores({0, 2, 3, 4, 16, 1500}, root.path()), 4);
  EXPECT_EQ(ef::detail::count_cores({3, 4}, root.path()), 2);
  EXPECT_EQ(ef::detail::count_cores({4, 1500}, root.path()), 2);
}

TEST(AvailableCores, WithoutTopologyEveryCpuIsACore) {
  EXPECT_EQ(ef::detail::count_cores({0, 1, 5}, FakeRoot().path()), 3);
}

TEST(CpuQuota, NoneWithoutGroups) {
  const FakeRoot root;
  EXPECT_EQ(root.quota(), LONG_MAX);
  root.write("proc/self/cgroup", "0::/\nnot a group\n:\n7:cpu\n");
  EXPECT_EQ(root.quota(), LONG_MAX);
}

TEST(CpuQuota, SmallestOfNestedGroupsRoundedUp) {
  const FakeRoot root;
  root.write("proc/self/cgroup", "0::/slice/service\n");
  root.write("sys/fs/cgroup/slice/service/cpu.max", "max 100000\n");
  EXPECT_EQ(root.quota(), LONG_MAX);
  root.write("sys/fs/cgroup/slice/cpu.max", "250000 100000\n");
  EXPECT_EQ(root.quota(), 3);
  root.write("sys/fs/cgroup/slice/service/cpu.max", "50000 100000");
  EXPECT_EQ(root.quota(), 1);
  root.write("sys/fs/cgroup/slice/service/cpu.max", "800000 100000");
  EXPECT_EQ(root.quota(), 3);
}

TEST(CpuQuota, ContainersGroupIsTheMountedRoot) {
  const FakeRoot root;
  root.write("proc/self/cgroup", "0::/outside/container");
  root.write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(root.quota(), 2);
}

TEST(CpuQuota, Version1OfTheCpuControllerAlone) {
  const FakeRoot root;
  root.write("proc/self/cgroup", "5:memory,cpuset:/other\n4:cpu,cpuacct:/docker/1\n0::/\n");
  root.write_version_1("sys/fs/cgroup/cpu,cpuacct/other", 100000, 100000);
  root.write_version_1("sys/fs/cgroup/cpu,cpuacct/docker/1", -1, 100000);
  EXPECT_EQ(root.quota(), LONG_MAX);
  root.write_version_1("sys/fs/cgroup/cpu,cpuacct/docker", 1000000, 250000);
  EXPECT_EQ(root.quota(), 4);
  root.write_version_1("sys/fs/cgroup/cpu/docker/1", 150000, 50000);
  EXPECT_EQ(root.quota(), 3);
  root.write("sys/fs/cgroup/unified/cpu.max", "20000 10000\n");
  EXPECT_EQ(root.quota(), 2);
}

}  // namespace cpu_count_test
