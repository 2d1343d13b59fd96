#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "server/obs/health.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"

namespace ropeway::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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

TEST(MetricsTest, TellsOfCertificatesAndReloads) {
  Metrics metrics("m");
  EXPECT_THAT(Scrape(metrics),
              AllOf(HasSubstr("ropeway_tls_certificate_expiry_timestamp_seconds{model_name=\"m\"} 0\n"),
                    HasSubstr("ropeway_reloads_total{model_name=\"m\",result=\"failed\",what=\"keys\"} 0\n"),
                    HasSubstr("ropeway_files_unused{model_name=\"m\",what=\"tls\"} 0\n"),
                    HasSubstr("ropeway_files_unused{model_name=\"m\",what=\"keys\"} 0\n")));
  metrics.SetTlsExpiry(absl::FromUnixSeconds(1234567));
  metrics.OnReload("tls", true);
  metrics.OnReload("tls", false);
  metrics.OnReload("tls", false);
  EXPECT_THAT(Scrape(metrics),
              AllOf(HasSubstr("ropeway_tls_certificate_expiry_timestamp_seconds{model_name=\"m\"} 1234567\n"),
                    HasSubstr("ropeway_reloads_total{model_name=\"m\",result=\"ok\",what=\"tls\"} 1\n"),
                    HasSubstr("ropeway_reloads_total{model_name=\"m\",result=\"failed\",what=\"tls\"} 2\n"),
                    HasSubstr("ropeway_files_unused{model_name=\"m\",what=\"tls\"} 1\n")));
  metrics.OnReload("tls", true);
  EXPECT_THAT(Scrape(metrics), HasSubstr("ropeway_files_unused{model_name=\"m\",what=\"tls\"} 0\n"));
}

TEST(MetricsTest, TellsOfKeysRefusalsAndConnections) {
  Metrics metrics("m");
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(
          HasSubstr(
              "ropeway_auth_refusals_total{model_name=\"m\",code=\"UNAUTHENTICATED\",listener=\"grpc\"} 0\n"),
          HasSubstr("ropeway_keys{model_name=\"m\"} 0\n"),
          HasSubstr("ropeway_key_requests_queued{model_name=\"m\"} 0\n"),
          HasSubstr("ropeway_connections{model_name=\"m\"} 0\n")));
  metrics.OnRefusal("admin", absl::StatusCode::kPermissionDenied);
  metrics.SetKeys(7);
  metrics.WatchQueuedByKeys([] { return 5; });
  metrics.WatchConnections([] {
    return ConnectionCounts{.open = 3,
                            .half_open = 2,
                            .handshakes = 1,
                            .over_connections = 11,
                            .over_descriptors = 12,
                            .over_half_open = 13,
                            .over_handshakes = 14,
                            .timed_out = 15};
  });
  EXPECT_THAT(Scrape(metrics), AllOf(HasSubstr("ropeway_auth_refusals_total{model_name=\"m\",code="
                                               "\"PERMISSION_DENIED\",listener=\"admin\"} 1\n"),
                                     HasSubstr("ropeway_keys{model_name=\"m\"} 7\n"),
                                     HasSubstr("ropeway_key_requests_queued{model_name=\"m\"} 5\n"),
                                     HasSubstr("ropeway_connections{model_name=\"m\"} 3\n"),
                                     HasSubstr("ropeway_half_open_connections{model_name=\"m\"} 2\n"),
                                     HasSubstr("ropeway_handshakes{model_name=\"m\"} 1\n")));
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(HasSubstr("ropeway_connections_refused_total{model_name=\"m\",reason=\"max_connections\"} 11\n"),
            HasSubstr("reason=\"open_files\"} 12\n"), HasSubstr("reason=\"max_half_open\"} 13\n"),
            HasSubstr("reason=\"max_handshakes\"} 14\n"), HasSubstr("reason=\"handshake_timeout\"} 15\n")));
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

TEST(MetricsTest, CountsTheLogLinesThatNobodyTook) {
  const Log log(LogLevel::kInfo, {.max_waiting_bytes = 0});
  Metrics metrics("m");
  EXPECT_THAT(Scrape(metrics), HasSubstr("ropeway_log_lines_dropped_total{model_name=\"m\"} 0\n"));
  metrics.WatchLog(log);
  log.Info("event");
  EXPECT_THAT(Scrape(metrics), AllOf(HasSubstr("# TYPE ropeway_log_lines_dropped_total counter\n"),
                                     HasSubstr("ropeway_log_lines_dropped_total{model_name=\"m\"} 1\n")));
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

TEST(MetricsTest, TellsStepCostsRefusalsByDeadlineAndHowGoodEstimatesWere) {
  Metrics metrics("m");
  StepCost costs[] = {{"step", absl::Milliseconds(1)}, {"prompt_token", absl::Microseconds(300)}};
  metrics.SetStepCosts(costs, 0.25);
  costs[0].cost = absl::Milliseconds(2);
  metrics.SetStepCosts(costs, 0.125);
  metrics.OnDeadlineRefusals(1);
  metrics.OnDeadlineRefusals(2);
  const RequestOutcome outcome = {.finish_reason = "stop",
                                  .generated_tokens = 1,
                                  .queue = absl::Milliseconds(100),
                                  .prefill = absl::Milliseconds(20),
                                  .expected_first_token = absl::Milliseconds(100)};
  metrics.OnRequestEnd(outcome);
  metrics.OnRequestEnd({.finish_reason = "deadline", .expected_first_token = absl::Milliseconds(100)});
  metrics.OnRequestEnd({.finish_reason = "stop", .generated_tokens = 1});
  EXPECT_THAT(
      Scrape(metrics),
      AllOf(HasSubstr("ropeway_step_cost_seconds{model_name=\"m\",term=\"step\"} 0.002\n"),
            HasSubstr("ropeway_step_cost_seconds{model_name=\"m\",term=\"prompt_token\"} 0.0003\n"),
            HasSubstr("ropeway_step_cost_error_ratio{model_name=\"m\"} 0.125\n"),
            HasSubstr("ropeway_deadline_refusals_total{model_name=\"m\"} 3\n"),
            HasSubstr("ropeway_first_token_estimate_ratio_count{model_name=\"m\"} 1\n"),
            HasSubstr("ropeway_first_token_estimate_ratio_bucket{model_name=\"m\",le=\"1.1\"} 0\n"),
            HasSubstr("ropeway_first_token_estimate_ratio_bucket{model_name=\"m\",le=\"1.25\"} 1\n")));
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
