#include "server/front/write_watchdog.h"

#include <atomic>
#include <memory>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

TEST(WriteWatchdogTest, TellsOnceOfAWriteThatTakesTooLong) {
  constexpr absl::Duration kTimeout = absl::Milliseconds(20);
  WriteWatchdog watchdog(kTimeout);
  absl::Notification told;
  const absl::Time begin = absl::Now();
  const WriteWatchdog::Ticket write = watchdog.Begin([&] { told.Notify(); });
  told.WaitForNotification();
  EXPECT_GE(absl::Now() - begin, kTimeout);
  watchdog.End(write);
  watchdog.End(WriteWatchdog::kNone);
}

TEST(WriteWatchdogTest, ForgetsWritesThatEndInTimeAndWhatTheyHold) {
  WriteWatchdog watchdog(absl::Milliseconds(50));
  std::atomic<int> told = 0;
  auto held = std::make_shared<int>();
  for (int i = 0; i < 1000; ++i) watchdog.End(watchdog.Begin([&told, held] { ++told; }));
  EXPECT_EQ(held.use_count(), 1);
  absl::Notification last;
  (void)watchdog.Begin([&] { last.Notify(); });
  last.WaitForNotification();
  EXPECT_EQ(told, 0);
}

TEST(WriteWatchdogTest, EndsWhileItWatches) {
  std::atomic<int> told = 0;
  {
    WriteWatchdog watchdog(absl::Hours(1));
    (void)watchdog.Begin([&] { ++told; });
  }
  EXPECT_EQ(told, 0);
}

}  // namespace
}  // namespace ropeway::server
