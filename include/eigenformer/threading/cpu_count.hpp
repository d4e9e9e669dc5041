// How many threads are worth starting: the cores that this process may run on, no more than the
// CPU quotas of its control groups allow. Functions that read /sys and /proc take the folder that
// both lie in, so that tests can bring their own.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace eigenformer {

namespace detail {

/// What is in a small file such as those under /sys; nothing where it cannot be read.
inline std::string read_small_file(const std::string& path) {
  std::string text;
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return text;
  char part[512];
  while (const std::size_t count = std::fread(part, 1, sizeof(part), file)) {
    text.append(part, count);
  }
  std::fclose(file);
  return text;
}

/// The CPUs that the calling thread may run on; the system leaves out those that are offline.
inline std::vector<int> allowed_cpus() {
  std::vector<cpu_set_t> sets(1);
  const auto bytes = [&] { return sets.size() * sizeof(cpu_set_t); };
  while (::sched_getaffinity(0, bytes(), sets.data()) != 0) {
    // EINVAL: the system has room for more CPUs than the sets; Linux for 8192 at most.
    if (errno != EINVAL || sets.size() >= 64) return {0};
    sets.resize(2 * sets.size());
  }
  std::vector<int> cpus;
  for (std::size_t cpu = 0; cpu < 8 * bytes(); ++cpu) {
    if (CPU_ISSET_S(cpu, bytes(), sets.data())) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

/// Physical cores among some CPUs. Slow cores of a hybrid machine count, too.
inline long count_cores(const std::vector<int>& cpus, const std::string& root = "") {
  std::vector<int> cores;  // each by the first of its CPUs
  for (int first : cpus) {
    const std::string cpu = root + "/sys/devices/system/cpu/cpu" + std::to_string(first);
    std::sscanf(read_small_file(cpu + "/topology/thread_siblings_list").c_str(), "%d", &first);
    cores.push_back(first);
  }
  std::sort(cores.begin(), cores.end());
  return std::unique(cores.begin(), cores.end()) - cores.begin();
}

/// How many CPUs' time the control groups of this process allow, rounded up; LONG_MAX: no limit.
inline long cpu_quota(const std::string& root = "") {
  long allowed = LONG_MAX;
  const auto apply = [&](const std::string& folder) {
    std::string text = read_small_file(folder + "/cpu.max");  // version 2
    if (text.empty()) {
      text = read_small_file(folder + "/cpu.cfs_quota_us") +
             read_small_file(folder + "/cpu.cfs_period_us");
    }
    long quota = 0;  // microseconds of CPU time in each period; "max" or -1: unlimited
    long period = 0;
    if (std::sscanf(text.c_str(), "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
      allowed = std::min(allowed, (quota - 1) / period + 1);
    }
  };

  const std::string groups = read_small_file(root + "/proc/self/cgroup");
  std::size_t end = 0;
  for (std::size_t begin = 0; begin < groups.size(); begin = end + 1) {
    end = std::min(groups.find('\n', begin), groups.size());
    const std::size_t controllers = groups.find(':', begin) + 1;  // "number:controllers:path"
    const std::size_t path = groups.find(':', controllers) + 1;
    if (controllers == 0 || path == 0 || path > end) continue;
    const std::string names = groups.substr(controllers, path - 1 - controllers);
    const bool unified = names.empty();
    if (!unified && ("," + names + ",").find(",cpu,") == std::string::npos) continue;
    // The limits of all the groups around one hold as well. A container may see the path outside
    // of it, while its own group is mounted as the root: folders that are missing are no matter.
    const std::string mounts = root + "/sys/fs/cgroup";
    for (const std::string& mount :
         {unified ? mounts : mounts + "/cpu", mounts + "/" + (unified ? "unified" : names)}) {
      std::string folder = mount + groups.substr(path, end - path);
      for (; folder.size() >= mount.size(); folder.resize(folder.rfind('/'))) apply(folder);
    }
  }
  return allowed;
}

inline int within_quota(long count) {
  return static_cast<int>(std::max(std::min(count, cpu_quota()), 1L));
}

}  // namespace detail

/// CPUs that the process may use at a time, at least 1.
[[nodiscard]] inline int available_cpus() {
  return detail::within_quota(static_cast<long>(detail::allowed_cpus().size()));
}

/// Physical cores that the process may use at a time, at least 1.
[[nodiscard]] inline int available_cores() {
  return detail::within_quota(detail::count_cores(detail::allowed_cpus()));
}

}  // namespace eigenformer
