#include "server/obs/log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpc/support/log.h"
#include "gtest/gtest.h"
#include "server/obs/library_log.h"
#include "server/obs/log_writer.h"
#include "server/obs/rate_limiter.h"
#include "tests/testing/await.h"

namespace ropeway::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kPatience = absl::Minutes(1);  // with what does not come

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~Pipe() {
    CloseWriting();
    close(ends_[0]);
  }
  int writing() const { return ends_[1]; }
  void CloseWriting() {
    if (ends_[1] >= 0) close(std::exchange(ends_[1], -1));
  }

  // What was written, until all of it was or, while it is open, a text came. A failure where neither happens.
  std::string ReadUntil(const std::string& text) {
    const absl::Time end = absl::Now() + kPatience;
    std::string part(1 << 16, '\0');
    while (text.empty() || content_.find(text) == std::string::npos) {
      if (!WaitUntilReadable(end)) {
        ADD_FAILURE() << "neither the end nor \"" << text << "\" comes after:\n" << content_;
        break;
      }
      const ssize_t size = read(ends_[0], part.data(), part.size());
      if (size <= 0) break;
      content_.append(part, 0, static_cast<size_t>(size));
    }
    return content_;
  }

 private:
  // Or the end was reached; false where neither is so in time.
  bool WaitUntilReadable(absl::Time end) const {
    pollfd readable = {.fd = ends_[0], .events = POLLIN};
    absl::Duration left;
    do {
      left = std::max(end - absl::Now(), absl::ZeroDuration());
      if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) > 0) return true;
    } while (left > absl::ZeroDuration());
    return false;
  }

  int ends_[2] = {-1, -1};
  std::string content_;
};

TEST(LogTest, WritesOneLinePerEventWhateverTheValues) {
  Pipe pipe;
  {
    const Log log(LogLevel::kInfo, {.descriptor = pipe.writing()});
    log.Debug("not shown");
    log.Info("request end", {{"id", "r1"}, {"tenant", "a 'b'\n\"=c\\'"}, {"empty", ""}, {"tokens", 12}});
    log.Warning("odd", {{"bytes", "\x1b[1m\xc2\x9b\xff"}});
    log.Info("odd", {{"path", "a\\b"}, {"sign", "a=b"}, {"word", "a\"b"}});
    log.Verbatim("the last word");
  }
  pipe.CloseWriting();
  const std::string text = pipe.ReadUntil("");
  EXPECT_THAT(text, HasSubstr(R"( info odd path="a\\b" sign="a=b" word="a\"b")"));
  EXPECT_THAT(
      text, AllOf(HasSubstr(" info request end id=r1 tenant=\"a 'b'\\n\\\"=c\\\\'\" empty=\"\" tokens=12\n"),
                  HasSubstr(" warning odd bytes=\"\\x1b[1m\\xc2\\x9b\\xff\"\n"),
                  HasSubstr("\nthe last word\n"), Not(HasSubstr("not shown"))));
  EXPECT_THAT(text, ::testing::ContainsRegex("^2[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9][+-][0-9:]+ info "));
}

TEST(LogTest, APipeThatNobodyReadsCostsLinesAndNoTime) {
  constexpr int kLines = 20'000;
  Pipe pipe;
  const auto thread = std::make_shared<bool>();  // which holds a copy until it ends
  auto writer = std::make_unique<LogWriter>(
      LogWriter::Options{.descriptor = pipe.writing(), .last_patience = absl::Milliseconds(100)},
      [thread](int64_t count) { return absl::StrCat("dropped ", count, "\n"); });
  const absl::Time begin = absl::Now();
  for (int i = 0; i < kLines; ++i)
    writer->Write(absl::StrCat("event i=", i, " padding=", std::string(100, 'x'), "\n"));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  const int64_t dropped = writer->dropped_lines();
  EXPECT_GT(dropped, kLines / 4);
  writer = nullptr;  // nor does it hold up the end
  EXPECT_LT(absl::Now() - begin, absl::Seconds(15));
  // Another test's pipe may have the same descriptor.
  EXPECT_TRUE(testing::Await([&] { return thread.use_count() == 1; }));
  pipe.CloseWriting();
  EXPECT_THAT(pipe.ReadUntil(""), HasSubstr("event i=0 "));
}

// What a line says behind `words`, or -1.
int64_t NumberBehind(absl::string_view words, absl::string_view line) {
  const size_t found = line.find(words);
  int64_t number = -1;
  if (found == line.npos) return number;
  line.remove_prefix(found + words.size());
  return absl::SimpleAtoi(line.substr(0, line.find(' ')), &number) ? number : -1;
}

// Lines may be taken while others are dropped, so that there is one gap or several.
TEST(LogTest, TellsWhereLinesAreMissing) {
  Pipe pipe;
  const Log log(LogLevel::kInfo, {.descriptor = pipe.writing(), .max_waiting_bytes = 10'000});
  int64_t logged = 0, dropped = 0;
  while (log.dropped_lines() < 3) log.Info("event", {{"i", logged++}, {"padding", std::string(1000, 'x')}});
  std::string text;
  std::thread reader([&] { text = pipe.ReadUntil(" after\n"); });
  const absl::Time end = absl::Now() + kPatience;
  do {  // until one is not dropped
    dropped = log.dropped_lines();
    log.Info("after");
    ++logged;
  } while (log.dropped_lines() > dropped && absl::Now() < end);
  reader.join();

  int64_t next = 0, told = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const int64_t event = NumberBehind(" info event i=", line);
    const int64_t missing = NumberBehind(" warning log lines dropped count=", line);
    if (event >= 0) {
      EXPECT_EQ(event, next++);
    }
    if (missing >= 0) next += missing, told += missing;
  }
  EXPECT_EQ(told, dropped);
  EXPECT_EQ(next, logged - 1) << "all but the last, which is there";
}

TEST(LogTest, AReaderThatHasGoneCostsLinesAndNothingElse) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  close(ends[0]);
  const Log log(LogLevel::kInfo, {.descriptor = ends[1]});
  log.Info("event");
  log.Flush();
  EXPECT_EQ(log.dropped_lines(), 1);
  close(ends[1]);
}

TEST(LibraryLogTest, ErrorsOfGrpcAreWarningsAndNotTooMany) {
  Pipe pipe;
  {
    const Log log(LogLevel::kInfo, {.descriptor = pipe.writing()});
    const LibraryLog library_log(log);
    gpr_log_verbosity_init();
    for (int i = 0; i < 1000; ++i) gpr_log(GPR_ERROR, "Failed accept4: %s", "Too many open files");
    gpr_log(GPR_INFO, "not shown");
  }
  gpr_log(GPR_ERROR, "nobody listens any more");
  pipe.CloseWriting();
  const std::string text = pipe.ReadUntil("");
  EXPECT_THAT(text,
              HasSubstr(" warning grpc message=\"Failed accept4: Too many open files\" at=log_test.cc:"));
  const int lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  EXPECT_GE(lines, 5);
  EXPECT_LE(lines, 30);
  EXPECT_THAT(text, Not(HasSubstr("not shown")));
}

TEST(RateLimiterTest, AClockThatIsTurnedBackTakesNothingAway) {
  RateLimiter limiter(2, absl::Seconds(1));
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  EXPECT_TRUE(limiter.Allow(now));
  EXPECT_TRUE(limiter.Allow(now - absl::Hours(1)));
  EXPECT_FALSE(limiter.Allow(now - absl::Hours(1)));
  EXPECT_TRUE(limiter.Allow(now - absl::Hours(1) + absl::Seconds(1)));
}

TEST(RateLimiterTest, LetsABurstThroughAndThenOnePerInterval) {
  RateLimiter limiter(2, absl::Seconds(1));
  const absl::Time start = absl::UnixEpoch();
  EXPECT_TRUE(limiter.Allow(start));
  EXPECT_TRUE(limiter.Allow(start));
  EXPECT_FALSE(limiter.Allow(start + absl::Milliseconds(500)));
  EXPECT_TRUE(limiter.Allow(start + absl::Milliseconds(1000)));
  EXPECT_FALSE(limiter.Allow(start + absl::Milliseconds(900)));  // a clock that was set back
  EXPECT_EQ(limiter.TakeSuppressed(), 2);
  EXPECT_EQ(limiter.TakeSuppressed(), 0);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(limiter.Allow(start + absl::Hours(1)));
  EXPECT_FALSE(limiter.Allow(start + absl::Hours(1)));
}

}  // namespace
}  // namespace ropeway::server
