#include "server/auth/file_watch.h"

#include <unistd.h>

#include <atomic>
#include <functional>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::TempFolder;

constexpr absl::Duration kInterval = absl::Milliseconds(10), kNoRest = absl::ZeroDuration();

// Files that are put into use by `use`, however they are read.
std::function<std::function<bool()>()> Counted(std::function<bool()> use) {
  return [use] { return use; };
}

bool WaitFor(const std::atomic<int>& count, int value) {
  for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end; absl::SleepFor(kInterval))
    if (count == value) return true;
  return false;
}

TEST(FileWatchTest, TellsEachChangeOnceAndToItsGroupAlone) {
  const TempFolder folder;
  folder.Write("a", "1");
  folder.Write("b", "1");
  std::atomic<int> a = 0, b = 0;
  FileWatch watch({{{folder.File("a")}, Counted([&] { return ++a > 0; })},
                   {{folder.File("b"), folder.File("c")}, Counted([&] { return ++b > 0; })}},
                  kInterval, kNoRest);
  watch.Start();
  absl::SleepFor(5 * kInterval);
  EXPECT_EQ(a + b, 0);
  folder.Write("new", "22");
  ASSERT_EQ(rename(folder.File("new").c_str(), folder.File("a").c_str()), 0);
  EXPECT_TRUE(WaitFor(a, 1));
  ASSERT_EQ(unlink(folder.File("b").c_str()), 0);
  EXPECT_TRUE(WaitFor(b, 1));
  folder.Write("c", "");
  EXPECT_TRUE(WaitFor(b, 2));
  absl::SleepFor(5 * kInterval);
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 2);
  watch.ReadAll();
  EXPECT_EQ(a, 2);
  EXPECT_EQ(b, 3);
}

TEST(FileWatchTest, LooksAgainAtFilesThatAreNotUsedUntilTheyAre) {
  const TempFolder folder;
  folder.Write("a", "1");
  std::atomic<int> count = 0;
  FileWatch watch({{{folder.File("a")}, Counted([&] { return ++count >= 5; })}}, kInterval, kNoRest);
  watch.Start();
  folder.Write("new", "22");
  ASSERT_EQ(rename(folder.File("new").c_str(), folder.File("a").c_str()), 0);
  EXPECT_TRUE(WaitFor(count, 5));
  absl::SleepFor(10 * kInterval);
  EXPECT_EQ(count, 5);
}

// As secrets are mounted: a link to a folder is moved to another one.
TEST(FileWatchTest, FollowsLinks) {
  const TempFolder one, two, links;
  one.Write("a", "1");
  two.Write("a", "1");
  ASSERT_EQ(symlink(one.path().c_str(), links.File("data").c_str()), 0);
  std::atomic<int> count = 0;
  FileWatch watch({{{links.File("data/a")}, Counted([&] { return ++count > 0; })}}, kInterval, kNoRest);
  watch.Start();
  ASSERT_EQ(symlink(two.path().c_str(), links.File("next").c_str()), 0);
  ASSERT_EQ(rename(links.File("next").c_str(), links.File("data").c_str()), 0);
  EXPECT_TRUE(WaitFor(count, 1));
}

// A server notes how its files are, reads them, and only then has somebody to tell.
TEST(FileWatchTest, TellsWhatChangedBeforeItsStart) {
  const TempFolder folder;
  folder.Write("a", "1");
  std::atomic<int> count = 0;
  FileWatch watch({{{folder.File("a")}, Counted([&] { return ++count > 0; })}}, kInterval, kNoRest);
  folder.Write("a", "22");
  absl::SleepFor(5 * kInterval);
  EXPECT_EQ(count, 0);
  watch.Start();
  EXPECT_TRUE(WaitFor(count, 1));
}

// An editor that writes in place leaves an empty file, or half of it, for a moment.
TEST(FileWatchTest, WaitsUntilFilesAreAtRest) {
  const TempFolder folder;
  folder.Write("a", "1");
  std::atomic<int> restless = 0, rested = 0;
  FileWatch hour({{{folder.File("a")}, Counted([&] { return ++restless > 0; })}}, kInterval, absl::Hours(1));
  FileWatch moment({{{folder.File("a")}, Counted([&] { return ++rested > 0; })}}, kInterval, 5 * kInterval);
  hour.Start();
  moment.Start();
  folder.Write("a", "");
  EXPECT_TRUE(WaitFor(rested, 1));
  EXPECT_EQ(restless, 0);
  // Who asks for them gets them at once.
  hour.ReadAll();
  EXPECT_EQ(restless, 1);
}

TEST(FileWatchTest, AClockThatWasTurnedBackKeepsNoFileRestless) {
  EXPECT_FALSE(IsAtRest(/*changed_ns=*/1000, /*now_ns=*/1000, /*rest_ns=*/10));
  EXPECT_FALSE(IsAtRest(1000, 1009, 10));
  EXPECT_TRUE(IsAtRest(1000, 1010, 10));
  EXPECT_TRUE(IsAtRest(1000, 999, 10));
}

TEST(FileWatchTest, WhatChangesWhileItIsReadIsReadAgain) {
  const TempFolder folder;
  folder.Write("a", "1");
  std::atomic<int> reads = 0, used = 0, uses = 0;
  const auto read = [&]() -> std::function<bool()> {
    const int number = ++reads;
    if (number < 3) folder.Write("a", std::string(number + 1, 'x'));
    return [&, number] {
      ++uses;
      return (used = number) > 0;
    };
  };
  FileWatch watch({{{folder.File("a")}, read}}, kInterval, kNoRest);
  folder.Write("a", "");
  watch.Start();
  EXPECT_TRUE(WaitFor(used, 3));
  EXPECT_EQ(reads, 3);
  EXPECT_EQ(uses, 1);  // of what did not change meanwhile
}

}  // namespace
}  // namespace ropeway::server
