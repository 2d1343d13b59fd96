#include "client/bench/runner.h"

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::client {
namespace {

// Answers with the item's output length, and counts how many calls run.
class CountingTarget final : public LoadTarget {
 public:
  explicit CountingTarget(std::function<void()> during = nullptr) : during_(std::move(during)) {}
  RequestRecord Run(const WorkItem& item) override {
    {
      absl::MutexLock lock(&mutex_);
      most_ = std::max(most_, ++running_);
    }
    if (during_) during_();
    absl::MutexLock lock(&mutex_);
    --running_;
    return {.output_tokens = item.output_tokens};
  }
  int most() {
    absl::MutexLock lock(&mutex_);
    return most_;
  }

 private:
  const std::function<void()> during_;
  absl::Mutex mutex_;
  int running_ = 0, most_ = 0;
};

std::vector<WorkItem> Items(int count) {
  std::vector<WorkItem> items(count);
  for (int i = 0; i < count; ++i) items[i].output_tokens = i;
  return items;
}

TEST(RunnerTest, EveryItemIsRunOnceAndRecordedInItsPlace) {
  CountingTarget target;
  int32_t last = 0;
  const RunResult result = RunWorkload(target, Items(100), 4, [&](int32_t done) { EXPECT_EQ(done, ++last); });
  ASSERT_EQ(result.records.size(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(result.records[i].output_tokens, i);
  EXPECT_EQ(last, 100);
}

TEST(RunnerTest, ConcurrencyIsReachedAndNeverExceeded) {
  // No call returns before three run, so the test would hang if fewer were let in.
  absl::Mutex mutex;
  int entered = 0;
  CountingTarget target([&] {
    absl::MutexLock lock(&mutex);
    ++entered;
    const auto enough = [&] { return entered >= 3; };
    mutex.Await(absl::Condition(&enough));
  });
  const RunResult result = RunWorkload(target, Items(30), 3);
  EXPECT_EQ(target.most(), 3);
  EXPECT_EQ(result.max_concurrent_requests, 3);
}

TEST(RunnerTest, NothingIsSentBeforeItsTime) {
  std::vector<WorkItem> items = Items(3);
  items[2].start_seconds = 0.05;
  CountingTarget target;
  EXPECT_GE(RunWorkload(target, items, 3).duration_seconds, 0.05);
}

}  // namespace
}  // namespace ropeway::client
