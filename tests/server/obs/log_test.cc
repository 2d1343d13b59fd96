#include "server/obs/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpc/support/log.h"
#include "gtest/gtest.h"
#include "server/obs/library_log.h"
#include "server/obs/rate_limiter.h"

namespace ropeway::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

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

  // What was written, until all of it was or, while it is open, a text came.
  std::string ReadUntil(const std::string& text) {
    std::string part(1 << 16, '\0');
    while (text.empty() || content_.find(text) == std::string::npos) {
      const ssize_t size = read(ends_[0], part.data(), part.size());
      if (size <= 0) break;
      content_.append(part, 0, static_cast<size_t>(size));
    }
    return content_;
  }

 private:
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
  auto log = std::make_unique<Log>(
      LogLevel::kInfo,
      LogWriter::Options{.descriptor = pipe.writing(), .last_patience = absl::Milliseconds(100)});
  const absl::Time begin = absl::Now();
  for (int i = 0; i < kLines; ++i) log->Info("event", {{"i", i}, {"padding", std::string(100, 'x')}});
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  const int64_t dropped = log->dropped_lines();
  EXPECT_GT(dropped, kLines / 4);
  log = nullptr;  // nor does it hold up the end
  EXPECT_LT(absl::Now() - begin, absl::Seconds(15));
  pipe.CloseWriting();
  EXPECT_THAT(pipe.ReadUntil(""), HasSubstr("event i=0 "));
}

TEST(LogTest, TellsWhereLinesAreMissing) {
  Pipe pipe;
  const Log log(LogLevel::kInfo, {.descriptor = pipe.writing(), .max_waiting_bytes = 10'000});
  int written = 0;
  while (log.dropped_lines() < 3) log.Info("event", {{"i", written++}, {"padding", std::string(1000, 'x')}});
  const std::string gap = "warning log lines dropped count=3\n";
  EXPECT_THAT(pipe.ReadUntil(gap), HasSubstr(absl::StrCat("event i=", written - 4, " ")));
  log.Info("after");
  const std::string text = pipe.ReadUntil("after");
  EXPECT_LT(text.find(gap), text.find("after"));
  int events = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) events += line.find(" event ") != line.npos;
  EXPECT_EQ(events, written - 3);
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
