// An explicit pool of threads. Work is cut into tasks by its size alone, never by the number of
// threads, so that results are the same for any pool. Idle threads sleep.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/function_ref.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/threading/cpu_count.hpp"

namespace eigenformer {

/// A number of threads, the caller's included, that work through tasks together.
class ThreadPool {
 public:
  /// `threads` counts the calling thread; throws Error below 1.
  explicit ThreadPool(int threads = available_cores()) {
    check(threads >= 1, "a thread pool needs at least 1 thread, not ", threads);
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  [[nodiscard]] int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(0) .. task(tasks - 1), each once, and returns when all are done. Rethrows the
  /// first exception. A call from inside a task runs on the calling thread alone; calls from
  /// several threads take turns.
  void run(Index tasks, FunctionRef<void(Index)> task) {
    if (tasks <= 1 || workers_.empty() || current() == this) {
      for (Index i = 0; i < tasks; ++i) task(i);
      return;
    }
    const std::lock_guard turn(turn_);
    {
      const std::lock_guard lock(mutex_);
      task_ = &task;
      tasks_ = tasks;
      next_.store(0, std::memory_order_relaxed);
      busy_ = static_cast<int>(workers_.size());
      failure_ = nullptr;
      ++generation_;
    }
    wake_.notify_all();
    take_tasks();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    task_ = nullptr;
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  /// The pool whose task this thread is running.
  static const ThreadPool*& current() noexcept {
    thread_local const ThreadPool* pool = nullptr;
    return pool;
  }

  void work() {
    std::size_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      lock.unlock();
      take_tasks();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void take_tasks() {
    const ThreadPool* outer = current();
    current() = this;
    for (Index i = next_++; i < tasks_; i = next_++) {
      try {
        (*task_)(i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
    current() = outer;
  }

  std::vector<std::thread> workers_;
  std::mutex turn_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const FunctionRef<void(Index)>* task_ = nullptr;
  Index tasks_ = 0;
  std::atomic<Index> next_{0};
  int busy_ = 0;
  std::size_t generation_ = 0;
  std::exception_ptr failure_;
  bool stopping_ = false;
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
