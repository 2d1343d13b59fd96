#include "client/bench/report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(DescribeTest, AgreesWithTextbookValues) {
  const Distribution values = Describe({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(values.mean, 2.5);
  EXPECT_DOUBLE_EQ(values.median, 2.5);
  EXPECT_DOUBLE_EQ(values.standard_deviation, std::sqrt(1.25));
  EXPECT_DOUBLE_EQ(values.p90, 3.7);
  EXPECT_DOUBLE_EQ(values.p95, 3.85);
  EXPECT_DOUBLE_EQ(values.p99, 3.97);
}

TEST(DescribeTest, OneValueAndNone) {
  EXPECT_EQ(Describe({5}).p99, 5);
  EXPECT_EQ(Describe({5}).standard_deviation, 0);
  EXPECT_EQ(Describe({}).mean, 0);
}

RunResult TwoAnswersAndAFailure() {
  return {
      .records = {{.prompt_tokens = 10,
                   .output_tokens = 3,
                   .first_seconds = 0.1,
                   .last_seconds = 0.3,
                   .gaps = {0.05, 0.15}},
                  {.status = absl::ResourceExhaustedError("full"), .prompt_tokens = 99, .output_tokens = 99},
                  {.prompt_tokens = 20, .output_tokens = 1, .first_seconds = 0.5, .last_seconds = 0.5},
                  {.status = absl::ResourceExhaustedError("full")}},
      .duration_seconds = 2,
      .max_concurrent_requests = 2};
}

TEST(ReportTest, CountsCompletedRequestsAlone) {
  const Report report = Summarize(TwoAnswersAndAFailure());
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.failed, 2);
  EXPECT_EQ(report.total_input_tokens, 30);
  EXPECT_EQ(report.total_output_tokens, 4);
  EXPECT_NEAR(report.ttft.mean, 300, 1e-9);
  EXPECT_NEAR(report.tpot.mean, 100, 1e-9);  // (0.3 - 0.1) / 2; one token has no time between tokens
  EXPECT_NEAR(report.itl.mean, 100, 1e-9);
  EXPECT_NEAR(report.e2el.mean, 400, 1e-9);
  EXPECT_THAT(report.errors_by_status, ElementsAre(Pair("RESOURCE_EXHAUSTED", 2)));
  EXPECT_THAT(report.errors, ElementsAre("full"));
}

TEST(ReportTest, TwoTokensHaveATimeBetweenThem) {
  const Report report = Summarize(
      {.records = {{.output_tokens = 2, .first_seconds = 0.1, .last_seconds = 0.4}}, .duration_seconds = 1});
  EXPECT_NEAR(report.tpot.mean, 300, 1e-9);
}

TEST(ReportTest, JsonHasTheKeysThatOthersUse) {
  const nlohmann::ordered_json json = ToJson(Summarize(TwoAnswersAndAFailure()));
  EXPECT_EQ(json["completed"], 2);
  EXPECT_EQ(json["failed"], 2);
  EXPECT_EQ(json["duration"], 2.0);
  EXPECT_EQ(json["total_input_tokens"], 30);
  EXPECT_EQ(json["total_output_tokens"], 4);
  EXPECT_EQ(json["request_throughput"], 1.0);
  EXPECT_EQ(json["output_throughput"], 2.0);
  EXPECT_EQ(json["total_token_throughput"], 17.0);
  for (const char* kind : {"ttft", "tpot", "itl", "e2el"})
    for (const char* statistic : {"mean_", "median_", "std_", "p90_", "p95_", "p99_"})
      EXPECT_TRUE(json.contains(std::string(statistic) + kind + "_ms")) << statistic << kind;
}

TEST(ReportTest, NothingCompletedIsNoDivisionByZero) {
  const Report report = Summarize({});
  EXPECT_EQ(ToJson(report)["request_throughput"], 0);
  EXPECT_THAT(ToTable(report), HasSubstr("Requests completed"));
}

}  // namespace
}  // namespace ropeway::client
