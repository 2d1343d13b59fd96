// Chunks by time, deadlines and estimates on a real model and a real clock.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/model_server.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// About 30 tokens a day.
std::string Story(int days) {
  std::string story;
  for (int day = 1; day <= days; ++day)
    story += absl::StrCat("On day ", day, " the cable car carried ", day * 37 % 100,
                          " people over the river and up to the old castle. ");
  return story;
}

client::Request Request(const std::string& text, int max_tokens) {
  return {.prompt = client::TextPrompt{.text = text},
          .sampling = {.temperature = 0.f},
          .stopping = {.max_tokens = max_tokens, .ignore_eos = true}};
}

class Served {
 public:
  explicit Served(int target_itl_ms, server::PrefixCache scope = server::PrefixCache::kTenant) {
    server::Config config = SmallConfig();
    config.target_itl_ms = target_itl_ms;
    config.prefix_cache = scope;
    server_ = std::make_unique<ModelServer>(config);
    client = client::Client::Create({.server = server_->address(), .retry = {.max_attempts = 1}});
  }
  std::string Metrics() { return server_->Metrics(); }

  std::unique_ptr<client::Client> client;

 private:
  std::unique_ptr<ModelServer> server_;
};

TEST(StepTimeTest, ChunksByTimeGiveTheSameBytes) {
  std::vector<std::vector<int32_t>> answers;
  for (const int target_ms : {0, 1, 20}) {
    Served served(target_ms, server::PrefixCache::kOff);
    client::Cancellation enough;
    std::thread stream([&] { served.client->Generate(Request("Once", 1900), {}, nullptr, &enough); });
    const client::Answer answer = served.client->Generate(Request(Story(15), 12));
    enough.Cancel();
    stream.join();
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    answers.push_back(answer.samples[0].token_ids);
  }
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
}

TEST(StepTimeTest, EstimatesKnowTheCacheAndTheMachine) {
  Served served(50);
  const client::Request request = Request(Story(15), 24);
  ASSERT_OK_AND_ASSIGN(const client::Estimate cold, served.client->EstimateRequest(request));
  EXPECT_TRUE(cold.admitted);
  EXPECT_EQ(cold.cached_tokens, 0);
  EXPECT_FALSE(cold.first_token_ms.has_value()) << "nothing was measured";
  const client::Answer first = served.client->Generate(request);
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(cold.prompt_tokens, first.usage.prompt_tokens);
  EXPECT_EQ(cold.pages, (first.usage.prompt_tokens + 23 + 15) / 16);
  ASSERT_OK_AND_ASSIGN(const client::Estimate warm, served.client->EstimateRequest(request));
  EXPECT_EQ(warm.cached_tokens, (first.usage.prompt_tokens - 1) / 16 * 16);
  ASSERT_TRUE(warm.first_token_ms.has_value());
  EXPECT_GT(*warm.first_token_ms, 0);
  EXPECT_GT(*warm.end_ms, *warm.first_token_ms);
  EXPECT_EQ(warm.expected_tokens, 24);
  const client::Answer second = served.client->Generate(request);
  ASSERT_TRUE(second.status.ok()) << second.status;
  EXPECT_EQ(second.receipt->cached_tokens, warm.cached_tokens);
  const std::string metrics = served.Metrics();
  EXPECT_EQ(MetricValue(metrics, "ropeway_first_token_estimate_ratio_count"), 1);
  EXPECT_THAT(metrics, HasSubstr("term=\"prompt_token\"} "));
}

// An unlucky attempt expires before it comes to the engine.
TEST(StepTimeTest, DeadlinesThatCannotBeMetAreRefusedWithAHint) {
  Served served(50, server::PrefixCache::kOff);
  ASSERT_TRUE(served.client->Generate(Request(Story(20), 24)).status.ok());
  const client::Request request = Request(Story(60), 4);
  ASSERT_OK_AND_ASSIGN(const client::Estimate estimate,
                       served.client->EstimateRequest(request, absl::Milliseconds(50)));
  EXPECT_FALSE(estimate.admitted);
  // What is left of the 50 ms when the engine is asked.
  EXPECT_THAT(estimate.refusal,
              MatchesRegex("the deadline in .*ms cannot be met: the first token is expected in .*"));
  ASSERT_TRUE(estimate.retry_after_ms.has_value());
  EXPECT_GE(*estimate.retry_after_ms, 100);
  absl::Status refused;
  for (const absl::Time end = absl::Now() + kPatience;
       !absl::IsResourceExhausted(refused) && absl::Now() < end;) {
    ASSERT_TRUE(served.client->Generate(Request("Once", 2)).status.ok());  // measurements stay young
    refused = served.client->Generate(request, {.timeout = absl::Milliseconds(100)}).status;
  }
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  EXPECT_GE(MetricValue(served.Metrics(), "ropeway_deadline_refusals_total"), 1);
}

}  // namespace
}  // namespace ropeway::testing
