#include "engine/base/clock.h"

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(RealClockTest, BeginsWithTheSystemsTimeAndNeverGoesBack) {
  const absl::Time before = absl::Now();
  const RealClock clock{};
  absl::Time last = clock.Now();
  EXPECT_GE(last, before);
  EXPECT_LE(last, absl::Now() + absl::Milliseconds(1));
  for (int i = 0; i < 10'000; ++i) {
    const absl::Time now = clock.Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(RealClockTest, RunsAsFastAsTime) {
  const RealClock clock{};
  const absl::Time begin = clock.Now();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_GE(clock.Now() - begin, absl::Milliseconds(20));
}

}  // namespace
}  // namespace ropeway
