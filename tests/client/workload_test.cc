#include "client/bench/workload.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;

std::vector<int32_t> Ids(const WorkItem& item) { return std::get<std::vector<int32_t>>(item.prompt); }

const WorkloadOptions kOptions{.num_requests = 50,
                               .prompt_tokens = 12,
                               .shared_prefix_tokens = 5,
                               .output_tokens = 7,
                               .vocab_size = 1000,
                               .request_rate = 4,
                               .seed = 3};

TEST(WorkloadTest, RandomPromptsHaveTheLengthsAndThePrefixAskedFor) {
  ASSERT_OK_AND_ASSIGN(const std::vector<WorkItem> items, MakeRandomWorkload(kOptions));
  ASSERT_EQ(items.size(), 50);
  const std::vector<int32_t> first = Ids(items[0]);
  for (const WorkItem& item : items) {
    const std::vector<int32_t> ids = Ids(item);
    ASSERT_EQ(ids.size(), 12);
    EXPECT_EQ(item.output_tokens, 7);
    EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + 5, first.begin()));
    for (const int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 1000) << id;
  }
  EXPECT_NE(Ids(items[0]), Ids(items[1]));
}

TEST(WorkloadTest, TheSeedDecidesEverything) {
  const auto same = [](const WorkloadOptions& a, const WorkloadOptions& b) {
    const std::vector<WorkItem> x = MakeRandomWorkload(a).value(), y = MakeRandomWorkload(b).value();
    return x[7].prompt == y[7].prompt && x[7].start_seconds == y[7].start_seconds;
  };
  WorkloadOptions other = kOptions;
  EXPECT_TRUE(same(kOptions, other));
  other.seed = 4;
  EXPECT_FALSE(same(kOptions, other));
}

TEST(WorkloadTest, ArrivalsAreAPoissonProcess) {
  WorkloadOptions options = kOptions;
  options.num_requests = 20000;
  options.prompt_tokens = 1;
  options.shared_prefix_tokens = 0;
  ASSERT_OK_AND_ASSIGN(const std::vector<WorkItem> items, MakeRandomWorkload(options));
  EXPECT_EQ(items[0].start_seconds, 0);
  double sum = 0, squares = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    const double gap = items[i].start_seconds - items[i - 1].start_seconds;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
  }
  // Gaps have mean 1/rate and, being exponential, a second moment of 2/rate². Six standard errors of room.
  const double n = items.size() - 1;
  EXPECT_NEAR(sum / n, 0.25, 6 * 0.25 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 0.125, 6 * 0.28 / std::sqrt(n));
}

TEST(WorkloadTest, WithoutARateAllStartAtOnce) {
  WorkloadOptions options = kOptions;
  options.request_rate = 0;
  ASSERT_OK_AND_ASSIGN(const std::vector<WorkItem> items, MakeRandomWorkload(options));
  for (const WorkItem& item : items) EXPECT_EQ(item.start_seconds, 0);
}

// Clocks count nanoseconds in 64 bits.
TEST(WorkloadTest, ARateAtWhichTheRunWouldNotEndIsRefused) {
  for (const double rate : {1e-6, 1e-300, 5e-324}) {
    WorkloadOptions options = kOptions;
    options.request_rate = rate;
    const auto refused = StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("the last request must start within 31622400 s, would after"));
    EXPECT_THAT(MakeRandomWorkload(options), refused) << rate;
    EXPECT_THAT(MakeWorkloadFromLines("a\nb", options), refused) << rate;
  }
}

TEST(WorkloadTest, PromptsFromLines) {
  const std::string lines =
      "plain text\n"
      "\n"
      R"({"prompt": "as JSON", "output_tokens": 3})"
      "\r\n"
      R"({"prompt": [1, 2]})";
  ASSERT_OK_AND_ASSIGN(std::vector<WorkItem> items, MakeWorkloadFromLines(lines, {.output_tokens = 9}));
  ASSERT_EQ(items.size(), 3);
  EXPECT_EQ(std::get<std::string>(items[0].prompt), "plain text");
  EXPECT_EQ(items[0].output_tokens, 9);
  EXPECT_EQ(std::get<std::string>(items[1].prompt), "as JSON");
  EXPECT_EQ(items[1].output_tokens, 3);
  EXPECT_THAT(Ids(items[2]), ElementsAre(1, 2));
  ASSERT_OK_AND_ASSIGN(items, MakeWorkloadFromLines(lines, {.num_requests = 4, .output_tokens = 9}));
  ASSERT_EQ(items.size(), 4);
  EXPECT_EQ(std::get<std::string>(items[3].prompt), "plain text");
}

TEST(WorkloadTest, WrongLinesAreNamed) {
  for (const char* line :
       {"{", "{}", R"({"prompt": 3})", R"({"prompt": ["a"]})", R"({"prompt": "a", "output_tokens": 0})",
        R"({"prompt": [2147483648]})", R"({"prompt": [18446744073709551615]})", R"({"prompt": [1.5]})",
        R"({"prompt": "a", "output_tokens": 2147483648})", R"({"prompt": "a", "output_tokens": 1e3})",
        R"({"prompt": "a", "output_tokens": [[1]]})"})
    EXPECT_THAT(MakeWorkloadFromLines(std::string("fine\n") + line, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2: ")))
        << line;
  EXPECT_THAT(MakeWorkloadFromLines("\n\n", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no prompt")));
}

TEST(WorkloadTest, WhatWouldNotFitIntoMemoryIsRefused) {
  WorkloadOptions options = kOptions;
  options.num_requests = options.prompt_tokens = 1 << 24;
  EXPECT_THAT(MakeRandomWorkload(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("at most 1073741824 bytes, have 1125899906842624")));
  EXPECT_THAT(MakeWorkloadFromLines(std::string(1000, 'x'), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 1073741824 bytes")));
}

}  // namespace
}  // namespace ropeway::client
