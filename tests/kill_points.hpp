// Kills a process at the n-th of its calls that change a folder. To be included by one source of a
// program alone: it puts itself in front of the C library's functions.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace {

int calls_before_death = -1;  // negative: none

void pass_kill_point() {
  if (calls_before_death == 0) ::raise(SIGKILL);
  if (calls_before_death > 0) --calls_before_death;
}

/// Runs `action` in a process of its own that dies before the n-th call; whether it did, or was
/// done before.
template <class Action>
bool is_killed_at(int n, Action&& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    calls_before_death = n;
    action();
    ::_exit(0);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

}  // namespace

extern "C" {
int rename(const char* from, const char* to) {
  pass_kill_point();
  return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int mkdir(const char* path, mode_t mode) {
  pass_kill_point();
  return ::mkdirat(AT_FDCWD, path, mode);
}
int rmdir(const char* path) {
  pass_kill_point();
  return ::unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int fsync(int descriptor) {
  pass_kill_point();
  return ::fdatasync(descriptor);
}
}
