#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "prometheus/text_serializer.h"
#include "server/obs/health.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"
#include "server/obs/metrics_server.h"
#include "spdlog/sinks/ostream_sink.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

TEST(MetricsTest, GaugesFollowTheEngineUnderBothNames) {
  Metrics metrics("m");
  metrics.SetEngine({.running = 3, .waiting = 4, .used_pages = 25, .total_pages = 100});
  EXPECT_THAT(Scrape(metrics), AllOf(HasSubstr("ropeway_requests_running{model_name=\"m\"} 3\n"),
                                     HasSubstr("vllm:num_requests_running{model_name=\"m\"} 3\n"),
                                     HasSubstr("vllm:num_requests_waiting{model_name=\"m\"} 4\n"),
                                     HasSubstr("vllm:kv_cache_usage_perc{model_name=\"m\"} 0.25\n"),
                                     HasSubstr("ropeway_kv_pages_total{model_name=\"m\"} 100\n"),
                                     HasSubstr("# TYPE vllm:num_requests_waiting gauge\n")));
  EXPECT_EQ(metrics.engine().used_pages, 25);
}

TEST(MetricsTest, LatenciesAreSecondsInBucketsThatResolveMilliseconds) {
  Metrics metrics("m");
  metrics.OnFirstToken(absl::Milliseconds(4));
  metrics.OnSiblingToken();
  metrics.OnNextToken(absl::Milliseconds(2.5));
  const std::string text = Scrape(metrics);
  EXPECT_THAT(
      text, AllOf(HasSubstr("ropeway_time_to_first_token_seconds_bucket{model_name=\"m\",le=\"0.003\"} 0\n"),
                  HasSubstr("ropeway_time_to_first_token_seconds_bucket{model_name=\"m\",le=\"0.005\"} 1\n"),
                  HasSubstr("vllm:time_to_first_token_seconds_count{model_name=\"m\"} 1\n"),
                  HasSubstr("vllm:inter_token_latency_seconds_sum{model_name=\"m\"} 0.0025\n"),
                  HasSubstr("vllm:generation_tokens_total{model_name=\"m\"} 3\n")));
}

TEST(MetricsTest, CountsCallsByMethodAndCodeAndRequestsByReason) {
  Metrics metrics("m");
  metrics.OnCall("Generate", absl::StatusCode::kInvalidArgument);
  metrics.OnCall("Generate", absl::StatusCode::kInvalidArgument);
  metrics.OnRequestEnd(
      {.finish_reason = "stop", .prompt_tokens = 7, .generated_tokens = 3, .cached_tokens = 5});
  metrics.OnRequestEnd({.finish_reason = "abort", .code = absl::StatusCode::kResourceExhausted});
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(
          HasSubstr(
              "ropeway_calls_total{model_name=\"m\",code=\"INVALID_ARGUMENT\",method=\"Generate\"} 2\n"),
          HasSubstr("vllm:request_success_total{model_name=\"m\",code=\"OK\",finished_reason=\"stop\"} 1\n"),
          HasSubstr("ropeway_requests_finished_total{model_name=\"m\",code=\"RESOURCE_EXHAUSTED\","
                    "finished_reason=\"abort\"} 1\n"),
          HasSubstr("ropeway_prompt_tokens_total{model_name=\"m\"} 7\n"),
          HasSubstr("vllm:prefix_cache_hits_total{model_name=\"m\"} 5\n")));
}

TEST(MetricsTest, SeriesThatAlertsAskForBeginAtZero) {
  Metrics metrics("m");
  metrics.AddMethod("Generate");
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(HasSubstr("ropeway_calls_total{model_name=\"m\",code=\"INTERNAL\",method=\"Generate\"} 0\n"),
            HasSubstr("ropeway_requests_finished_total{model_name=\"m\",code=\"OK\","
                      "finished_reason=\"stop\"} 0\n")));
}

TEST(MetricsTest, TellsTheTimePerOutputTokenOfRequestsThatHaveOne) {
  Metrics metrics("m");
  metrics.OnRequestEnd({.finish_reason = "length", .longest_sample_tokens = 1});
  metrics.OnRequestEnd(
      {.finish_reason = "length", .longest_sample_tokens = 11, .decode = absl::Milliseconds(50)});
  EXPECT_THAT(Scrape(metrics),
              AllOf(HasSubstr("ropeway_time_per_output_token_seconds_count{model_name=\"m\"} 1\n"),
                    HasSubstr("vllm:request_time_per_output_token_seconds_sum{model_name=\"m\"} 0.005\n")));
}

TEST(MetricsTest, TellsTheModelAndTheSizeOfSteps) {
  Metrics metrics("m");
  metrics.SetModel(
      {.architecture = "llama", .quantization = "Q4_1", .num_parameters = 135, .max_model_len = 2048});
  metrics.OnStep(absl::Milliseconds(3), 40, 7);
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(HasSubstr("ropeway_model_info{model_name=\"m\",architecture=\"llama\",max_model_len=\"2048\","
                      "parameters=\"135\",quantization=\"Q4_1\"} 1\n"),
            HasSubstr("ropeway_step_tokens_sum{model_name=\"m\"} 40\n"),
            HasSubstr("ropeway_step_sequences_sum{model_name=\"m\"} 7\n")));
}

TEST(MetricsServerTest, APortInUseIsAnErrorThatNamesTheAddress) {
  auto metrics = std::make_shared<Metrics>("m");
  ASSERT_OK_AND_ASSIGN(const auto first, MetricsServer::Start("127.0.0.1:0", metrics));
  ASSERT_GT(first->port(), 0);
  const std::string address = absl::StrCat("127.0.0.1:", first->port());
  EXPECT_THAT(MetricsServer::Start(address, metrics),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

// A connection to a port of this machine, with the beginning of a request sent.
int BeginRequest(int port, const std::string& bytes) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
  return connection;
}

TEST(MetricsServerTest, AnswersWhileOthersStallTheirRequests) {
  ASSERT_OK_AND_ASSIGN(const auto server,
                       MetricsServer::Start("127.0.0.1:0", std::make_shared<Metrics>("m")));
  std::vector<int> stalled;
  for (int i = 0; i < 12; ++i)
    stalled.push_back(BeginRequest(server->port(), "GET /metrics HTTP/1.1\r\nX: "));
  const absl::Time asked = absl::Now();
  const int scrape = BeginRequest(server->port(), "GET /metrics HTTP/1.0\r\n\r\n");
  std::string answer, part(4096, '\0');
  while (!absl::StrContains(answer, "ropeway_")) {
    const ssize_t size = recv(scrape, part.data(), part.size(), 0);
    ASSERT_GT(size, 0);
    answer.append(part, 0, size);
  }
  EXPECT_LT(absl::Now() - asked, absl::Seconds(20));
  close(scrape);
  for (const int connection : stalled) close(connection);
}

TEST(MetricsServerTest, EndsAtOnce) {
  for (const char* address : {"127.0.0.1:0", "0.0.0.0:0"}) {
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<MetricsServer> server,
                         MetricsServer::Start(address, std::make_shared<Metrics>("m")));
    absl::SleepFor(absl::Milliseconds(100));  // it has begun to wait for calls
    const absl::Time told = absl::Now();
    server = nullptr;
    EXPECT_LT(absl::Now() - told, absl::Seconds(1)) << address;
  }
}

TEST(LogTest, WritesOneLinePerEventWhateverTheValues) {
  std::ostringstream out;
  const Log log(LogLevel::kInfo, std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  log.Debug("not shown");
  log.Info("request end", {{"id", "r1"}, {"tenant", "a b\n\"=c"}, {"empty", ""}, {"tokens", 12}});
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("info request end id=r1 tenant=\"a b\\n\\\"=c\" empty=\"\" tokens=12\n"),
                    Not(HasSubstr("not shown"))));
}

TEST(HealthTest, NeverServesAfterDraining) {
  Health health;
  EXPECT_EQ(health.state(), HealthState::kLoading);
  EXPECT_TRUE(health.StartServing());
  health.StartDraining();
  EXPECT_FALSE(health.StartServing());
  EXPECT_EQ(health.state(), HealthState::kDraining);
}

}  // namespace
}  // namespace ropeway::server
