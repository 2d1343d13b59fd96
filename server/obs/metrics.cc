#include "server/obs/metrics.h"

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"

namespace ropeway::server {
namespace {

// Seconds. Steps of a small model take milliseconds, queues of a full server minutes.
const std::vector<double> kSeconds = {0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03,
                                      0.05,   0.075, 0.1,   0.15,  0.2,   0.3,    0.5,  0.75,  1,    1.5,
                                      2,      3,     5,     7.5,   10,    15,     30,   60,    120,  300};
const std::vector<double> kTokens = {1,   2,    4,    8,    16,   32,    64,    128,   256,
                                     512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072};

// Actual to expected: 1 is right.
const std::vector<double> kRatios = {0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10};

// The other name of a metric, as servers of this kind have agreed on in practice.
struct Alias {
  absl::string_view name;
  absl::string_view alias;
};
constexpr Alias kAliases[] = {
    {"ropeway_requests_running", "vllm:num_requests_running"},
    {"ropeway_requests_waiting", "vllm:num_requests_waiting"},
    {"ropeway_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    {"ropeway_kv_cache_usage_ratio", "vllm:gpu_cache_usage_perc"},
    {"ropeway_preemptions_total", "vllm:num_preemptions_total"},
    {"ropeway_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"ropeway_generation_tokens_total", "vllm:generation_tokens_total"},
    {"ropeway_prefix_cache_queried_tokens_total", "vllm:prefix_cache_queries_total"},
    {"ropeway_prefix_cache_hit_tokens_total", "vllm:prefix_cache_hits_total"},
    {"ropeway_requests_finished_total", "vllm:request_success_total"},
    {"ropeway_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"ropeway_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
    {"ropeway_inter_token_latency_seconds", "vllm:time_per_output_token_seconds"},
    {"ropeway_time_per_output_token_seconds", "vllm:request_time_per_output_token_seconds"},
    {"ropeway_request_duration_seconds", "vllm:e2e_request_latency_seconds"},
    {"ropeway_request_queue_seconds", "vllm:request_queue_time_seconds"},
    {"ropeway_request_prefill_seconds", "vllm:request_prefill_time_seconds"},
    {"ropeway_request_decode_seconds", "vllm:request_decode_time_seconds"},
    {"ropeway_request_prompt_tokens", "vllm:request_prompt_tokens"},
    {"ropeway_request_generation_tokens", "vllm:request_generation_tokens"},
    {"ropeway_step_tokens", "vllm:iteration_tokens_total"},
};

// What counts from the start, as 0: rate() misses the first event of a series that appears with it.
constexpr absl::StatusCode kExpectedCodes[] = {absl::StatusCode::kOk, absl::StatusCode::kResourceExhausted,
                                               absl::StatusCode::kInternal, absl::StatusCode::kUnknown};
constexpr std::pair<absl::string_view, absl::StatusCode> kExpectedEnds[] = {
    {"stop", absl::StatusCode::kOk},
    {"length", absl::StatusCode::kOk},
    {"abort", absl::StatusCode::kCancelled},
    {"abort", absl::StatusCode::kResourceExhausted},  // a reader too slow
    {"abort", absl::StatusCode::kUnavailable},        // the server shut down
    {"deadline", absl::StatusCode::kDeadlineExceeded},
    {"error", absl::StatusCode::kInternal},
};

}  // namespace

Metrics::Metrics(const std::string& model_name)
    : labels_({{"model_name", model_name}}),
      calls_(prometheus::BuildCounter()
                 .Name("ropeway_calls_total")
                 .Help("Calls that ended, by method and status code")
                 .Labels(labels_)
                 .Register(registry_)),
      finished_(prometheus::BuildCounter()
                    .Name("ropeway_requests_finished_total")
                    .Help("Generation requests that ended, by reason and status code")
                    .Labels(labels_)
                    .Register(registry_)),
      refusals_(prometheus::BuildCounter()
                    .Name("ropeway_auth_refusals_total")
                    .Help("Calls and scrapes that were not let in, by listener and status code")
                    .Labels(labels_)
                    .Register(registry_)),
      reloads_(prometheus::BuildCounter()
                   .Name("ropeway_reloads_total")
                   .Help("Files that changed and were read again, by what they hold and what came of it")
                   .Labels(labels_)
                   .Register(registry_)),
      files_unused_(prometheus::BuildGauge()
                        .Name("ropeway_files_unused")
                        .Help("1 where files are wrong and the old ones stay in use, by what they hold")
                        .Labels(labels_)
                        .Register(registry_)),
      build_(prometheus::BuildGauge()
                 .Name("ropeway_build_info")
                 .Help("1, with the version and the kernels as labels")
                 .Labels(labels_)
                 .Register(registry_)),
      model_(prometheus::BuildGauge()
                 .Name("ropeway_model_info")
                 .Help("1, with what is served as labels")
                 .Labels(labels_)
                 .Register(registry_)),
      step_cost_(prometheus::BuildGauge()
                     .Name("ropeway_step_cost_seconds")
                     .Help("What a step is expected to take for each unit of a term")
                     .Labels(labels_)
                     .Register(registry_)),
      time_to_first_token_(AddHistogram("ropeway_time_to_first_token_seconds",
                                        "From a request's arrival to its first token", kSeconds)),
      inter_token_latency_(AddHistogram("ropeway_inter_token_latency_seconds",
                                        "From one token of a sample to the next", kSeconds)),
      time_per_output_token_(AddHistogram("ropeway_time_per_output_token_seconds",
                                          "Mean time between tokens of a request", kSeconds)),
      request_duration_(
          AddHistogram("ropeway_request_duration_seconds", "From a request's arrival to its end", kSeconds)),
      request_queue_(AddHistogram("ropeway_request_queue_seconds",
                                  "From a request's arrival to the first step that worked on it", kSeconds)),
      request_prefill_(AddHistogram("ropeway_request_prefill_seconds",
                                    "From a request's first step to its first token", kSeconds)),
      request_decode_(AddHistogram("ropeway_request_decode_seconds",
                                   "From a request's first token to its end", kSeconds)),
      request_prompt_tokens_(
          AddHistogram("ropeway_request_prompt_tokens", "Tokens of a request's prompt", kTokens)),
      request_generation_tokens_(
          AddHistogram("ropeway_request_generation_tokens", "Tokens generated for a request", kTokens)),
      step_duration_(AddHistogram("ropeway_step_duration_seconds", "Duration of an engine step", kSeconds)),
      step_tokens_(AddHistogram("ropeway_step_tokens", "Tokens computed by an engine step", kTokens)),
      step_sequences_(
          AddHistogram("ropeway_step_sequences", "Sequences in the batch of an engine step", kTokens)),
      prompt_tokens_(AddCounter("ropeway_prompt_tokens_total", "Prompt tokens of ended requests")),
      generation_tokens_(AddCounter("ropeway_generation_tokens_total", "Tokens generated")),
      prefix_queried_(AddCounter("ropeway_prefix_cache_queried_tokens_total",
                                 "Prompt tokens looked up in the prefix cache")),
      prefix_hit_(AddCounter("ropeway_prefix_cache_hit_tokens_total",
                             "Prompt tokens found in the prefix cache, not computed again")),
      prefix_evictions_(AddCounter("ropeway_prefix_cache_evicted_pages_total",
                                   "KV cache pages whose prefix was forgotten because others needed them")),
      preemptions_(AddCounter("ropeway_preemptions_total", "Sequences that had to give up their pages")),
      deadline_refusals_(AddCounter("ropeway_deadline_refusals_total",
                                    "Requests refused because their deadline could not be met")),
      first_token_ratio_(AddHistogram("ropeway_first_token_estimate_ratio",
                                      "Time to the first token, to what was expected on arrival", kRatios)),
      step_cost_error_(AddGauge("ropeway_step_cost_error_ratio",
                                "Mean relative error of the expected durations of steps, lately")),
      running_(AddGauge("ropeway_requests_running", "Requests in the batch")),
      waiting_(AddGauge("ropeway_requests_waiting", "Requests that wait for a place in the batch")),
      pages_used_(AddGauge("ropeway_kv_pages_used", "KV cache pages held by requests")),
      pages_cached_(AddGauge("ropeway_prefix_cache_pages",
                             "KV cache pages that no request holds and a prefix is found in")),
      pages_prefix_(AddGauge("ropeway_prefix_cache_resident_pages",
                             "KV cache pages that a prefix is found in, held by requests or not")),
      pages_total_(AddGauge("ropeway_kv_pages_total", "KV cache pages")),
      kv_usage_(AddGauge("ropeway_kv_cache_usage_ratio", "KV cache pages held by requests, of all")),
      tls_expiry_(AddGauge("ropeway_tls_certificate_expiry_timestamp_seconds",
                           "When the server's certificate expires, since 1970; 0 without TLS")),
      keys_(AddGauge("ropeway_keys", "Keys in the file of keys; 0 where nobody is asked for one")) {
  for (const char* what : {"tls", "keys"}) {
    for (const bool ok : {true, false}) Reloads(what, ok);
    files_unused_.Add({{"what", what}});
  }
  for (const char* listener : {"grpc", "metrics", "admin"})
    for (const absl::StatusCode code :
         {absl::StatusCode::kUnauthenticated, absl::StatusCode::kPermissionDenied})
      Refusals(listener, code);
  for (const auto& [reason, code] : kExpectedEnds) Finished(reason, code);
}

prometheus::Counter& Metrics::AddCounter(const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Labels(labels_).Register(registry_).Add({});
}

prometheus::Gauge& Metrics::AddGauge(const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Labels(labels_).Register(registry_).Add({});
}

prometheus::Histogram& Metrics::AddHistogram(const std::string& name, const std::string& help,
                                             const std::vector<double>& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Labels(labels_).Register(registry_).Add({},
                                                                                                    buckets);
}

void Metrics::SetBuild(const BuildFacts& facts) {
  build_.Add({{"version", facts.version}, {"kernels", facts.kernels}}).Set(1);
}

void Metrics::SetModel(const ModelLabels& model) {
  model_
      .Add({{"architecture", model.architecture},
            {"quantization", model.quantization},
            {"parameters", std::to_string(model.num_parameters)},
            {"max_model_len", std::to_string(model.max_model_len)}})
      .Set(1);
}

void Metrics::AddMethod(absl::string_view method) {
  for (const absl::StatusCode code : kExpectedCodes) Calls(method, code);
}

void Metrics::OnCall(absl::string_view method, absl::StatusCode code) { Calls(method, code).Increment(); }

prometheus::Counter& Metrics::Calls(absl::string_view method, absl::StatusCode code) {
  return calls_.Add({{"method", std::string(method)}, {"code", absl::StatusCodeToString(code)}});
}

void Metrics::OnReload(absl::string_view what, bool ok) {
  Reloads(what, ok).Increment();
  files_unused_.Add({{"what", std::string(what)}}).Set(ok ? 0 : 1);
}

void Metrics::OnRefusal(absl::string_view listener, absl::StatusCode code) {
  Refusals(listener, code).Increment();
}

prometheus::Counter& Metrics::Refusals(absl::string_view listener, absl::StatusCode code) {
  return refusals_.Add({{"listener", std::string(listener)}, {"code", absl::StatusCodeToString(code)}});
}

void Metrics::SetKeys(size_t keys) { keys_.Set(static_cast<double>(keys)); }

void Metrics::SetTlsExpiry(absl::Time expires) {
  tls_expiry_.Set(static_cast<double>(absl::ToUnixSeconds(expires)));
}

prometheus::Counter& Metrics::Reloads(absl::string_view what, bool ok) {
  return reloads_.Add({{"what", std::string(what)}, {"result", ok ? "ok" : "failed"}});
}

prometheus::Counter& Metrics::Finished(absl::string_view reason, absl::StatusCode code) {
  return finished_.Add({{"finished_reason", std::string(reason)}, {"code", absl::StatusCodeToString(code)}});
}

void Metrics::OnFirstToken(absl::Duration since_arrival) {
  generation_tokens_.Increment();
  time_to_first_token_.Observe(absl::ToDoubleSeconds(since_arrival));
}

void Metrics::OnNextToken(absl::Duration since_last) {
  generation_tokens_.Increment();
  inter_token_latency_.Observe(absl::ToDoubleSeconds(since_last));
}

void Metrics::OnRequestEnd(const RequestOutcome& outcome) {
  Finished(outcome.finish_reason, outcome.code).Increment();
  request_duration_.Observe(absl::ToDoubleSeconds(outcome.total));
  request_queue_.Observe(absl::ToDoubleSeconds(outcome.queue));
  request_prefill_.Observe(absl::ToDoubleSeconds(outcome.prefill));
  request_decode_.Observe(absl::ToDoubleSeconds(outcome.decode));
  if (outcome.longest_sample_tokens > 1) {
    time_per_output_token_.Observe(absl::ToDoubleSeconds(outcome.decode) /
                                   (outcome.longest_sample_tokens - 1));
  }
  request_prompt_tokens_.Observe(outcome.prompt_tokens);
  request_generation_tokens_.Observe(outcome.generated_tokens);
  prompt_tokens_.Increment(outcome.prompt_tokens);
  prefix_queried_.Increment(outcome.prompt_tokens);
  prefix_hit_.Increment(outcome.cached_tokens);
  const absl::Duration expected = outcome.expected_first_token.value_or(absl::ZeroDuration());
  if (outcome.generated_tokens > 0 && expected > absl::ZeroDuration())
    first_token_ratio_.Observe(absl::FDivDuration(outcome.queue + outcome.prefill, expected));
}

void Metrics::SetEngine(const EngineGauges& gauges) {
  running_.Set(gauges.running);
  waiting_.Set(gauges.waiting);
  pages_used_.Set(gauges.used_pages);
  pages_cached_.Set(gauges.cached_pages);
  pages_prefix_.Set(gauges.prefix_pages);
  pages_total_.Set(gauges.total_pages);
  kv_usage_.Set(gauges.total_pages == 0 ? 0 : static_cast<double>(gauges.used_pages) / gauges.total_pages);
}

EngineGauges Metrics::engine() const {
  return {.running = static_cast<int32_t>(running_.Value()),
          .waiting = static_cast<int32_t>(waiting_.Value()),
          .used_pages = static_cast<int32_t>(pages_used_.Value()),
          .cached_pages = static_cast<int32_t>(pages_cached_.Value()),
          .prefix_pages = static_cast<int32_t>(pages_prefix_.Value()),
          .total_pages = static_cast<int32_t>(pages_total_.Value())};
}

PrefixCacheCounts Metrics::prefix_cache() const {
  return {.queried_tokens = static_cast<int64_t>(prefix_queried_.Value()),
          .hit_tokens = static_cast<int64_t>(prefix_hit_.Value()),
          .evicted_pages = static_cast<int64_t>(prefix_evictions_.Value())};
}

void Metrics::OnStep(absl::Duration duration, int32_t batch_tokens, int32_t batch_sequences) {
  step_duration_.Observe(absl::ToDoubleSeconds(duration));
  step_tokens_.Observe(batch_tokens);
  step_sequences_.Observe(batch_sequences);
}

void Metrics::OnPreemptions(int32_t count) { preemptions_.Increment(count); }

void Metrics::OnEvictions(int32_t pages) { prefix_evictions_.Increment(pages); }

void Metrics::SetStepCosts(absl::Span<const StepCost> costs, double error) {
  // Looked up once: a look-up takes a lock and makes strings, and this is called for each step.
  if (step_costs_.empty()) {
    for (const StepCost& cost : costs)
      step_costs_.push_back(&step_cost_.Add({{"term", std::string(cost.term)}}));
  }
  ROPEWAY_CHECK(step_costs_.size() == costs.size());
  for (size_t i = 0; i < costs.size(); ++i) step_costs_[i]->Set(absl::ToDoubleSeconds(costs[i].cost));
  step_cost_error_.Set(error);
}

prometheus::MetricFamily Metrics::Foreign(prometheus::MetricType type, const std::string& name,
                                          const std::string& help, int64_t value) const {
  prometheus::ClientMetric metric;
  for (const auto& [label, text] : labels_) metric.label.push_back({label, text});
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) =
      static_cast<double>(value);
  return {.name = name, .help = help, .type = type, .metric = {std::move(metric)}};
}

void Metrics::CollectConnections(std::vector<prometheus::MetricFamily>& families) const {
  const ConnectionCounts counts = connections_();
  const auto gauge = [&](const std::string& name, const std::string& help, int64_t value) {
    families.push_back(Foreign(prometheus::MetricType::Gauge, name, help, value));
  };
  gauge("ropeway_connections", "Open connections of gRPC", counts.open);
  gauge("ropeway_half_open_connections", "Connections whose clients have not said their first words",
        counts.half_open);
  gauge("ropeway_handshakes", "TLS handshakes that clients let wait", counts.handshakes);
  prometheus::MetricFamily refused =
      Foreign(prometheus::MetricType::Counter, "ropeway_connections_refused_total",
              "Connections refused, or ended before their first call, by the limit that was met", 0);
  const prometheus::ClientMetric plain = refused.metric[0];
  refused.metric.clear();
  const std::pair<const char*, int64_t> reasons[] = {{"max_connections", counts.over_connections},
                                                     {"open_files", counts.over_descriptors},
                                                     {"max_half_open", counts.over_half_open},
                                                     {"max_handshakes", counts.over_handshakes},
                                                     {"handshake_timeout", counts.timed_out}};
  for (const auto& [reason, count] : reasons) {
    prometheus::ClientMetric metric = plain;
    metric.label.push_back({"reason", reason});
    metric.counter.value = static_cast<double>(count);
    refused.metric.push_back(std::move(metric));
  }
  families.push_back(std::move(refused));
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  // The log counts for itself, since it must not wait for anything.
  families.push_back(Foreign(prometheus::MetricType::Counter, "ropeway_log_lines_dropped_total",
                             "Log lines that nobody took from standard error",
                             log_ == nullptr ? 0 : log_->dropped_lines()));
  families.push_back(Foreign(prometheus::MetricType::Gauge, "ropeway_key_requests_queued",
                             "Requests that wait for a limit of their key", queued_by_keys_()));
  CollectConnections(families);
  const size_t own = families.size();
  for (const Alias& alias : kAliases) {
    for (size_t i = 0; i < own; ++i) {
      if (families[i].name != alias.name) continue;
      prometheus::MetricFamily copy = families[i];
      copy.name = std::string(alias.alias);
      families.push_back(std::move(copy));
    }
  }
  return families;
}

}  // namespace ropeway::server
