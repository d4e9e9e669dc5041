#include "eigenformer/threading/thread_pool.hpp"

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ef = eigenformer;

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

TEST(AvailableCores, AtLeastOne) { EXPECT_GE(ef::available_cores(), 1); }
