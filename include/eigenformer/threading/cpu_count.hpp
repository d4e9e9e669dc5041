// How many threads are worth starting: physical cores that this process may run on, no more than
// its control group's CPU quota allows.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <utility>

namespace eigenformer {

namespace detail {

/// The first `count` integers of a small file such as those under /sys, or fewer.
inline int read_integers(const std::string& path, long* values, int count) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return 0;
  int found = 0;
  while (found < count && std::fscanf(file, "%ld", values + found) == 1) ++found;
  std::fclose(file);
  return found;
}

}  // namespace detail

/// Physical cores among the CPUs that the process may use, at least 1.
[[nodiscard]] inline int available_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::pair<long, long>> cores;  // (package, core)
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    long package = 0;
    long core = cpu;
    if (detail::read_integers(topology + "core_id", &core, 1) == 1) {
      detail::read_integers(topology + "physical_package_id", &package, 1);
    }
    cores.emplace(package, core);
  }
  long quota[2] = {0, 0};  // microseconds of CPU time, per period; "max" where unlimited
  auto limit = static_cast<long>(cores.size());
  if (detail::read_integers("/sys/fs/cgroup/cpu.max", quota, 2) == 2 && quota[1] > 0) {
    limit = std::min(limit, (quota[0] + quota[1] - 1) / quota[1]);
  }
  return static_cast<int>(std::max(limit, 1L));
}

}  // namespace eigenformer
