#include "client/retry.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::client {
namespace {

using ::testing::Eq;
using ::testing::Optional;

constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
const RetryPolicy kPolicy{
    .max_attempts = 6, .first_backoff = absl::Milliseconds(100), .max_backoff = absl::Milliseconds(500)};

std::optional<absl::Duration> Wait(absl::StatusCode code, int32_t attempts, const RetryHint& hint = {},
                                   absl::Duration remaining = absl::InfiniteDuration(), double jitter = 1) {
  return WaitBeforeRetry(kPolicy, code, hint, attempts, remaining, jitter);
}

TEST(RetryTest, OnlyStatesThatMayPassAreTriedAgain) {
  EXPECT_NE(Wait(kExhausted, 1), std::nullopt);
  EXPECT_NE(Wait(kUnavailable, 1), std::nullopt);
  for (const auto code : {absl::StatusCode::kInvalidArgument, absl::StatusCode::kDeadlineExceeded,
                          absl::StatusCode::kCancelled, absl::StatusCode::kInternal})
    EXPECT_EQ(Wait(code, 1), std::nullopt) << absl::StatusCodeToString(code);
}

TEST(RetryTest, BackoffDoublesUpToItsMaximum) {
  EXPECT_THAT(Wait(kUnavailable, 1), Optional(absl::Milliseconds(100)));
  EXPECT_THAT(Wait(kUnavailable, 2), Optional(absl::Milliseconds(200)));
  EXPECT_THAT(Wait(kUnavailable, 3), Optional(absl::Milliseconds(400)));
  EXPECT_THAT(Wait(kUnavailable, 4), Optional(absl::Milliseconds(500)));
  EXPECT_THAT(Wait(kUnavailable, 5), Optional(absl::Milliseconds(500)));
  EXPECT_EQ(Wait(kUnavailable, 6), std::nullopt);
}

TEST(RetryTest, JitterSpreadsOverTheUpperHalf) {
  EXPECT_THAT(Wait(kUnavailable, 1, {}, absl::InfiniteDuration(), 0), Optional(absl::Milliseconds(50)));
  EXPECT_THAT(Wait(kUnavailable, 1, {}, absl::InfiniteDuration(), 0.5), Optional(absl::Milliseconds(75)));
}

TEST(RetryTest, TheHintOfTheServerIsFollowed) {
  EXPECT_THAT(Wait(kExhausted, 1, {.wait = absl::Seconds(9)}), Optional(absl::Seconds(9)));
  EXPECT_EQ(Wait(kExhausted, 1, {.forbidden = true}), std::nullopt);
  EXPECT_EQ(Wait(kExhausted, 6, {.wait = absl::Seconds(9)}), std::nullopt);
}

TEST(RetryTest, NoRetryThatTheDeadlineWouldCut) {
  EXPECT_EQ(Wait(kUnavailable, 1, {}, absl::Milliseconds(100)), std::nullopt);
  EXPECT_THAT(Wait(kUnavailable, 1, {}, absl::Milliseconds(101)), Optional(absl::Milliseconds(100)));
}

TEST(RetryTest, HintsAreParsedAsGrpcDefinesThem) {
  EXPECT_THAT(ParseRetryHint("250").wait, Optional(absl::Milliseconds(250)));
  EXPECT_THAT(ParseRetryHint("0").wait, Optional(absl::ZeroDuration()));
  for (const char* text : {"-1", "", "soon", "1.5", "99999999999999999999"}) {
    EXPECT_TRUE(ParseRetryHint(text).forbidden) << text;
    EXPECT_THAT(ParseRetryHint(text).wait, Eq(std::nullopt)) << text;
  }
}

}  // namespace
}  // namespace ropeway::client
