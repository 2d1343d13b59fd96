#include "engine/base/stop_event.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(StopEventTest, WaitsAsLongAsItsPatience) {
  StopEvent event;
  const absl::Time begin = absl::Now();
  EXPECT_FALSE(event.WaitFor(absl::Milliseconds(20)));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(20));
  EXPECT_FALSE(event.WaitFor(absl::ZeroDuration()));
  EXPECT_FALSE(event.WaitFor(-absl::InfiniteDuration()));
}

TEST(StopEventTest, EndsAtOnceWhereItIsTold) {
  StopEvent event;
  std::thread stopping([&] {
    absl::SleepFor(absl::Milliseconds(5));
    event.Stop();
  });
  EXPECT_TRUE(event.WaitFor(absl::InfiniteDuration()));
  stopping.join();
  EXPECT_TRUE(event.WaitFor(absl::ZeroDuration())) << "for good";
}

}  // namespace
}  // namespace ropeway
