#include "engine/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(ThreadPoolTest, RunsTheBodyOnceOnEveryMember) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    std::vector<int> runs(static_cast<size_t>(threads));
    pool.Run([&](Team& team) {
      EXPECT_EQ(team.size(), threads);
      ++runs[static_cast<size_t>(team.index())];
    });
    EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(threads), 1));
  }
}

TEST(ThreadPoolTest, TheCallerIsMember0) {
  ThreadPool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  pool.Run([&](Team& team) { EXPECT_EQ(std::this_thread::get_id() == caller, team.index() == 0); });
}

// Every member writes in one phase what its neighbour reads in the next: ThreadSanitizer watches, too.
TEST(ThreadPoolTest, WhatIsWrittenBeforeABarrierIsSeenAfterIt) {
  constexpr int kThreads = 4, kPhases = 200;
  ThreadPool pool(kThreads);
  std::vector<int> numbers(kThreads, 0);
  std::atomic<int> wrong = 0;
  for (int run = 0; run < 20; ++run)
    pool.Run([&](Team& team) {
      const auto own = static_cast<size_t>(team.index()), next = (own + 1) % kThreads;
      for (int phase = 1; phase <= kPhases; ++phase) {
        numbers[own] = phase;
        team.Wait();
        if (numbers[next] != phase) ++wrong;
        team.Wait();
      }
    });
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPoolTest, ReturnsWhenAllAreDone) {
  ThreadPool pool(3);
  for (int run = 0; run < 200; ++run) {
    std::atomic<int> done = 0;
    pool.Run([&](Team&) { ++done; });
    ASSERT_EQ(done, 3);
  }
}

TEST(ThreadPoolTest, WakesUpAfterAPause) {
  ThreadPool pool(2);
  std::atomic<int> runs = 0;
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // workers have gone to sleep
    pool.Run([&](Team&) { ++runs; });
  }
  EXPECT_EQ(runs, 6);
}

TEST(ThreadPoolTest, EndsWithoutHavingRun) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(3);
}

TEST(ThreadPoolTest, PinsItsThreads) {
  ThreadPool pool(2, /*pin=*/true);
  std::atomic<int> runs = 0;
  pool.Run([&](Team&) { ++runs; });
  EXPECT_EQ(runs, 2);
}

TEST(ThreadPoolTest, CountsProcessors) { EXPECT_GE(NumUsableProcessors(), 1); }

}  // namespace
}  // namespace ropeway
