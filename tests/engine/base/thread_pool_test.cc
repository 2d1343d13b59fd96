#include "engine/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

std::unique_ptr<ThreadPool> Pool(int threads, std::function<void(int)> delay = nullptr) {
  return ThreadPool::Make({.threads = threads, .delay = std::move(delay)}).value();
}

void Sleep(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(ThreadPoolTest, RunsTheBodyOnceOnEveryMember) {
  for (const int threads : {1, 2, 5}) {
    const auto pool = Pool(threads);
    EXPECT_EQ(pool->size(), threads);
    std::vector<int> runs(static_cast<size_t>(threads));
    pool->Run([&](Team& team) {
      EXPECT_EQ(team.size(), threads);
      ++runs[static_cast<size_t>(team.index())];
    });
    EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(threads), 1));
  }
}

TEST(ThreadPoolTest, TheCallerIsMember0) {
  const auto pool = Pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  pool->Run([&](Team& team) { EXPECT_EQ(std::this_thread::get_id() == caller, team.index() == 0); });
}

// Every piece reads what another wrote in the phase before: ThreadSanitizer watches, too.
TEST(ThreadPoolTest, WhatIsWrittenInAPhaseIsSeenInTheNext) {
  constexpr int kPieces = 7, kPhases = 200;
  for (const int threads : {1, 2, 4, 16}) {
    const auto pool = Pool(threads);
    std::vector<int> numbers(kPieces, 0), others(kPieces, 0);
    std::atomic<int> wrong = 0;
    for (int run = 0; run < 20; ++run)
      pool->RunPhases([&](Team& team) {
        for (int phase = 0; phase < kPhases; ++phase) {
          team.ForEach(kPieces, [&](int64_t i) { numbers[i] = others[(i + 1) % kPieces] + 1; });
          team.ForEach(kPieces, [&](int64_t i) {
            if (numbers[i] != numbers[(i + 1) % kPieces]) ++wrong;
            others[i] = numbers[i];
          });
        }
      });
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(others, std::vector<int>(kPieces, 20 * kPhases));
  }
}

TEST(ThreadPoolTest, EachPieceIsDoneOnceWhateverTheirNumber) {
  const auto pool = Pool(3);
  for (const int count : {0, 1, 2, 3, 4, 100}) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(count));
    pool->RunPhases([&](Team& team) {
      for (int phase = 0; phase < 10; ++phase)
        team.ForEach(count, [&](int64_t piece) { ++done[static_cast<size_t>(piece)]; });
    });
    for (const std::atomic<int>& times : done) ASSERT_EQ(times, 10);
  }
}

// A member that is held up in all that it does leaves the work to the others.
TEST(ThreadPoolTest, OthersDoThePiecesOfAMemberThatIsHeldUp) {
  for (const int slow : {0, 1, 2}) {
    const auto pool = Pool(3, [slow](int member) {
      if (member == slow) Sleep(5);
    });
    std::vector<std::atomic<int>> pieces_of(3);
    std::atomic<int> sum = 0;
    pool->RunPhases([&](Team& team) {
      for (int phase = 0; phase < 20; ++phase)
        team.ForEach(30, [&](int64_t piece) {
          sum += static_cast<int>(piece);
          ++pieces_of[static_cast<size_t>(team.index())];
          Sleep(0);
        });
    });
    EXPECT_EQ(sum, 20 * 435);
    EXPECT_LT(pieces_of[static_cast<size_t>(slow)], 20 * 5);
  }
}

// Members are late at random, so that some are whole phases and runs behind.
TEST(ThreadPoolTest, LateMembersDisturbNothing) {
  std::atomic<uint32_t> random = 1;
  const auto pool = Pool(4, [&](int) {
    random = random * 1664525u + 1013904223u;
    if (random >> 24 < 12) std::this_thread::sleep_for(std::chrono::microseconds(random >> 16 & 511));
  });
  for (int run = 0; run < 100; ++run) {
    std::vector<std::vector<int>> done(20, std::vector<int>(9));
    pool->RunPhases([&](Team& team) {
      for (auto& phase : done) team.ForEach(9, [&](int64_t piece) { ++phase[static_cast<size_t>(piece)]; });
    });
    ASSERT_EQ(done, std::vector<std::vector<int>>(20, std::vector<int>(9, 1)));
  }
}

TEST(ThreadPoolTest, ReturnsWhenAllAreDone) {
  const auto pool = Pool(3);
  for (int run = 0; run < 200; ++run) {
    std::atomic<int> done = 0;
    pool->Run([&](Team&) { ++done; });
    ASSERT_EQ(done, 3);
  }
}

TEST(ThreadPoolTest, WakesUpAfterAPause) {
  const auto pool = Pool(2);
  std::atomic<int> runs = 0;
  for (int i = 0; i < 3; ++i) {
    Sleep(20);  // workers have gone to sleep
    pool->Run([&](Team&) { ++runs; });
  }
  EXPECT_EQ(runs, 6);
}

TEST(ThreadPoolTest, EndsWithoutHavingRun) {
  for (int i = 0; i < 50; ++i) Pool(3);
}

TEST(ThreadPoolTest, CountsProcessors) { EXPECT_GE(NumUsableProcessors(), 1); }

}  // namespace
}  // namespace ropeway
