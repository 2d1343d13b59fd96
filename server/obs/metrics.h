// What the server measures about itself, for Prometheus.
//
// Metrics are ropeway_* in base units with the label model_name; some are told a second time under the names
// that routers and dashboards read already (vllm:num_requests_waiting, ...). Thread-safe.
#ifndef ROPEWAY_SERVER_OBS_METRICS_H_
#define ROPEWAY_SERVER_OBS_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/registry.h"
#include "server/net/connection_counts.h"
#include "server/obs/engine_observer.h"
#include "server/obs/log.h"

namespace ropeway::server {

struct BuildFacts {
  std::string version;
  std::string kernels;
};

struct ModelLabels {
  std::string architecture;
  std::string quantization;
  int64_t num_parameters = 0;
  int32_t max_model_len = 0;
};

// What the prefix cache did so far.
struct PrefixCacheCounts {
  int64_t queried_tokens = 0;
  int64_t hit_tokens = 0;
  int64_t evicted_pages = 0;
};

class Metrics final : public prometheus::Collectable, public EngineObserver {
 public:
  explicit Metrics(const std::string& model_name);

  void SetBuild(const BuildFacts& facts);
  void SetModel(const ModelLabels& model);

  // Tells from now on how many lines `log`, which outlives this, had to drop.
  void WatchLog(const Log& log) { log_ = &log; }

  // Lets the series of `method` that alerts and dashboards ask for begin at 0, so that rate() sees their
  // first call.
  void AddMethod(absl::string_view method);
  void OnCall(absl::string_view method, absl::StatusCode code);  // a call ended
  // Files that changed, "tls" or "keys", were read again, and are used or not.
  void OnReload(absl::string_view what, bool ok);
  void OnRefusal(absl::string_view listener, absl::StatusCode code);  // somebody was not let in
  void SetKeys(size_t keys);                                          // in the file of keys
  // Tells from now on how many requests wait for a limit of their key.
  void WatchQueuedByKeys(std::function<int64_t()> queued) { queued_by_keys_ = std::move(queued); }
  // Tells from now on of the connections of gRPC.
  void WatchConnections(std::function<ConnectionCounts()> counts) { connections_ = std::move(counts); }
  void SetTlsExpiry(absl::Time expires);  // of the server's certificate
  void OnFirstToken(absl::Duration since_arrival) override;
  void OnSiblingToken() override { generation_tokens_.Increment(); }
  void OnNextToken(absl::Duration since_last) override;
  void OnRequestEnd(const RequestOutcome& outcome) override;

  void SetEngine(const EngineGauges& gauges) override;
  EngineGauges engine() const;
  PrefixCacheCounts prefix_cache() const;
  void OnStep(absl::Duration duration, int32_t batch_tokens, int32_t batch_sequences) override;
  void OnStepFailed(const absl::Status&) override {}  // its requests are counted as they end
  void OnPreemptions(int32_t count) override;
  void OnEvictions(int32_t pages) override;
  void OnDeadlineRefusals(int32_t count) override { deadline_refusals_.Increment(count); }
  void SetStepCosts(absl::Span<const StepCost> costs, double error) override;

  // All families, and again those that have other names, too.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  prometheus::Counter& Calls(absl::string_view method, absl::StatusCode code);
  prometheus::Counter& Refusals(absl::string_view listener, absl::StatusCode code);
  prometheus::Counter& Reloads(absl::string_view what, bool ok);
  prometheus::Counter& Finished(absl::string_view reason, absl::StatusCode code);
  prometheus::Counter& AddCounter(const std::string& name, const std::string& help);
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help);
  prometheus::Histogram& AddHistogram(const std::string& name, const std::string& help,
                                      const std::vector<double>& buckets);

  void CollectConnections(std::vector<prometheus::MetricFamily>& families) const;
  // A metric that somebody else keeps.
  prometheus::MetricFamily Foreign(prometheus::MetricType type, const std::string& name,
                                   const std::string& help, int64_t value) const;

  const prometheus::Labels labels_;
  const Log* log_ = nullptr;
  std::function<ConnectionCounts()> connections_ = [] { return ConnectionCounts(); };
  std::function<int64_t()> queued_by_keys_ = [] { return int64_t{0}; };
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Counter>& finished_;
  prometheus::Family<prometheus::Counter>& refusals_;
  prometheus::Family<prometheus::Counter>& reloads_;
  prometheus::Family<prometheus::Gauge>& files_unused_;
  prometheus::Family<prometheus::Gauge>& build_;
  prometheus::Family<prometheus::Gauge>& model_;
  prometheus::Family<prometheus::Gauge>& step_cost_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& time_per_output_token_;
  prometheus::Histogram& request_duration_;
  prometheus::Histogram& request_queue_;
  prometheus::Histogram& request_prefill_;
  prometheus::Histogram& request_decode_;
  prometheus::Histogram& request_prompt_tokens_;
  prometheus::Histogram& request_generation_tokens_;
  prometheus::Histogram& step_duration_;
  prometheus::Histogram& step_tokens_;
  prometheus::Histogram& step_sequences_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generation_tokens_;
  prometheus::Counter& prefix_queried_;
  prometheus::Counter& prefix_hit_;
  prometheus::Counter& prefix_evictions_;
  prometheus::Counter& preemptions_;
  prometheus::Counter& deadline_refusals_;
  prometheus::Histogram& first_token_ratio_;
  prometheus::Gauge& step_cost_error_;
  std::vector<prometheus::Gauge*> step_costs_;  // of each term; the engine's thread alone sets them
  prometheus::Gauge& running_;
  prometheus::Gauge& waiting_;
  prometheus::Gauge& pages_used_;
  prometheus::Gauge& pages_cached_;
  prometheus::Gauge& pages_prefix_;
  prometheus::Gauge& pages_total_;
  prometheus::Gauge& kv_usage_;
  prometheus::Gauge& tls_expiry_;
  prometheus::Gauge& keys_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_METRICS_H_
