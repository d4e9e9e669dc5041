#include "eigenformer/threading/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <latch>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace thread_pool_test {

namespace ef = eigenformer;

using std::chrono::microseconds;

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ef::ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (ef::Index tasks : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> counts(static_cast<std::size_t>(tasks));
      pool.run(tasks, [&](ef::Index i) { ++counts[static_cast<std::size_t>(i)]; });
      for (auto& count : counts) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, RethrowsATasksException) {
  ef::ThreadPool pool(3);
  std::atomic<int> ran{0};
  const auto task = [&](ef::Index i) {
    ++ran;
    ef::check<ef::ShapeError>(i != 7, "task 7");
  };
  EXPECT_THROW(pool.run(20, task), ef::ShapeError);
  EXPECT_EQ(ran, 20);
  ran = 0;
  EXPECT_NO_THROW(pool.run(5, task));
  EXPECT_EQ(ran, 5);
}

TEST(ThreadPool, NestedCallsRunInline) {
  ef::ThreadPool pool(2);
  std::atomic<int> ran{0};
  pool.run(4, [&](ef::Index) { pool.run(3, [&](ef::Index) { ++ran; }); });
  EXPECT_EQ(ran, 12);
}

TEST(ThreadPool, SeveralThreadsTakeTurns) {
  ef::ThreadPool pool(2);
  std::atomic<int> ran{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int k = 0; k < 50; ++k) pool.run(7, [&](ef::Index) { ++ran; });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(ran, 4 * 50 * 7);
}

// Pauses of all lengths between regions, so that waiting threads are met awake, asleep and between.
TEST(ThreadPool, ManyShortRegionsWithPauses) {
  for (int threads : {2, 5}) {
    ef::ThreadPool pool(threads);
    const auto call = [&](unsigned seed) {
      std::mt19937 random(seed);
      std::vector<ef::Index> squares(40);
      for (int region = 0; region < 400; ++region) {
        const auto tasks = static_cast<ef::Index>(random() % squares.size());
        std::fill(squares.begin(), squares.end(), -1);
        pool.run(tasks, [&](ef::Index i) { squares[static_cast<std::size_t>(i)] = i * i; });
        for (ef::Index i = 0; i < std::ssize(squares); ++i) {
          ASSERT_EQ(squares[static_cast<std::size_t>(i)], i < tasks ? i * i : -1);
        }
        const microseconds pause(random() % 80);
        const auto end = std::chrono::steady_clock::now() + pause;
        if (pause.count() % 8 == 0) std::this_thread::sleep_for(2 * pause);
        while (pause.count() % 3 == 0 && std::chrono::steady_clock::now() < end) continue;
      }
    };
    call(1);
    std::vector<std::jthread> callers;
    for (unsigned seed = 2; seed < 5; ++seed) callers.emplace_back(call, seed);
  }
}

TEST(ThreadPool, PoolsThatCallEachOther) {
  ef::ThreadPool one(2);
  ef::ThreadPool other(2);
  std::latch both_run(2);
  std::atomic<int> ran{0};
  const auto call = [&](ef::ThreadPool& outer, ef::ThreadPool& inner) {
    outer.run(3, [&](ef::Index i) {
      if (i == 0) both_run.arrive_and_wait();
      inner.run(4, [&](ef::Index) { ++ran; });
    });
  };
  std::thread thread([&] { call(one, other); });
  call(other, one);
  thread.join();
  EXPECT_EQ(ran, 2 * 3 * 4);
}

TEST(ThreadPool, OneTaskRunsOnTheCaller) {
  ef::ThreadPool pool(2);
  std::thread::id id;
  pool.run(1, [&](ef::Index) { id = std::this_thread::get_id(); });
  EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(ThreadPool, EndsWhileItsThreadsSleepOrDoNot) {
  for (int i = 0; i < 60; ++i) {
    ef::ThreadPool pool(i % 3 + 2);
    std::atomic<int> ran{0};
    if (i % 2 == 0) pool.run(6, [&](ef::Index) { ++ran; });
    std::this_thread::sleep_for(microseconds(i % 5 * 40));
    EXPECT_EQ(ran, i % 2 == 0 ? 6 : 0);
  }
}

TEST(ThreadPool, IdleUsesNoCpu) {
  ef::ThreadPool pool(4);
  pool.run(8, [](ef::Index) {});
  const std::clock_t before = std::clock();  // CPU time of the whole process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 50);
}

TEST(ThreadPool, RefusesNoThreads) { EXPECT_THROW(ef::ThreadPool(0), ef::Error); }

TEST(ParallelFor, RangesDependOnSizeAndGrainAlone) {
  for (int threads : {1, 4}) {
    ef::ThreadPool pool(threads);
    std::vector<int> covered(103);
    ef::parallel_for(pool, 103, 10, [&](ef::Index begin, ef::Index end) {
      EXPECT_EQ(begin % 10, 0);
      EXPECT_LE(end - begin, 10);
      for (ef::Index i = begin; i < end; ++i) ++covered[static_cast<std::size_t>(i)];
    });
    EXPECT_EQ(std::accumulate(covered.begin(), covered.end(), 0), 103);
  }
}

}  // namespace thread_pool_test
