// An explicit pool of threads. Work is cut into tasks by its size alone, never by the number of
// threads, so that results are the same for any pool. The short parallel regions of a forward pass
// follow each other closely: a thread that waits first looks out for a few microseconds, so that
// the next region starts without the system's help, and then sleeps.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/function_ref.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/threading/cpu_count.hpp"

namespace eigenformer {

namespace detail {

/// Tells the CPU that this thread is in a waiting loop.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// A count that threads can wait for to go up. Raising it calls the system only for sleepers.
class Signal {
 public:
  [[nodiscard]] unsigned count() const noexcept { return count_; }

  void raise() noexcept {
    ++count_;  // in one order with what sleepers do: either they see it, or they are seen here
    if (sleepers_ != 0) count_.notify_all();
  }

  /// Returns the count as soon as it is not `old`; `spins`: looks out for a while before it sleeps.
  unsigned wait(unsigned old, bool spins) noexcept {
    using Clock = std::chrono::steady_clock;
    const auto enough = Clock::now() + std::chrono::microseconds(50);
    while (spins) {
      for (int i = 0; i < 16; ++i) {
        if (const unsigned count = count_; count != old) return count;
        pause();
      }
      spins = Clock::now() < enough;
    }
    ++sleepers_;
    count_.wait(old);
    --sleepers_;
    return count_;
  }

 private:
  std::atomic<unsigned> count_{0};
  std::atomic<int> sleepers_{0};
};

}  // namespace detail

/// A number of threads, the caller's included, that work through tasks together. No thread waits
/// for one that has no task: a region that ends before a sleeper has woken ends without it.
class ThreadPool {
 public:
  /// `threads` counts the calling thread; throws Error below 1.
  explicit ThreadPool(int threads = available_cores()) : spins_(threads <= available_cpus()) {
    check(threads >= 1, "a thread pool needs at least 1 thread, not ", threads);
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  /// Waits for the threads to end.
  ~ThreadPool() { stop(); }

  /// How many threads there are, the caller's included.
  [[nodiscard]] int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(0) .. task(tasks - 1), each once, and returns when all are done. Rethrows the
  /// first exception. A call from inside a task, of any pool, runs on the calling thread alone;
  /// calls from several threads take turns.
  void run(Index tasks, FunctionRef<void(Index)> task) {
    if (tasks <= 1 || workers_.empty() || inside_task()) {
      for (Index i = 0; i < tasks; ++i) task(i);
      return;
    }
    const std::lock_guard turn(turn_);
    task_ = &task;
    tasks_ = tasks;
    undone_ = tasks;
    const unsigned ended = ended_.count();
    untaken_ = tasks;
    begun_.raise();
    take_tasks();
    ended_.wait(ended, spins_);
    if (failed_.exchange(false)) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  /// Whether this thread runs a task, of any pool: two pools could wait for each other forever.
  static bool& inside_task() noexcept {
    thread_local bool inside = false;
    return inside;
  }

  void work() noexcept {
    for (unsigned begun = 0; !stopping_; begun = begun_.wait(begun, spins_)) take_tasks();
  }

  void take_tasks() noexcept {
    inside_task() = true;
    Index done = 0;
    for (Index untaken = untaken_; untaken > 0;) {
      if (!untaken_.compare_exchange_weak(untaken, untaken - 1)) continue;
      // The region lasts until its taker has counted this task as done: task_ and tasks_ stay.
      try {
        (*task_)(tasks_ - untaken);
      } catch (...) {
        if (!failed_.exchange(true)) failure_ = std::current_exception();
      }
      ++done;
      untaken = untaken_;
    }
    inside_task() = false;
    if (done > 0 && undone_.fetch_sub(done) == done) ended_.raise();
  }

  void stop() noexcept {
    stopping_ = true;
    begun_.raise();
    for (std::thread& worker : workers_) worker.join();
  }

  std::vector<std::thread> workers_;
  const bool spins_;  // where threads outnumber CPUs, one that looks out keeps another from work
  std::mutex turn_;
  const FunctionRef<void(Index)>* task_ = nullptr;
  Index tasks_ = 0;
  std::atomic<Index> untaken_{0};
  std::atomic<Index> undone_{0};
  detail::Signal begun_;
  detail::Signal ended_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};

/// Calls f(begin, end) for consecutive ranges of at most `grain` that cover 0..n. The ranges
/// depend on n and grain alone.
template <class Function>
void parallel_for(ThreadPool& pool, Index n, Index grain, Function&& f) {
  grain = std::max<Index>(grain, 1);
  pool.run((n + grain - 1) / grain,
           [&](Index part) { f(part * grain, std::min(n, (part + 1) * grain)); });
}

}  // namespace eigenformer
