#include "client/bench/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ropeway::client {
namespace {

constexpr size_t kMaxErrors = 10;  // distinct ones that are told

// REQUIRES: `sorted` is not empty.
double Percentile(const std::vector<double>& sorted, double percent) {
  const double rank = percent / 100 * (sorted.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

double PerSecond(double count, const Report& report) {
  return report.duration_seconds > 0 ? count / report.duration_seconds : 0;
}

// The numbers of the table and of JSON, one list for both.
struct Line {
  const char* key;
  const char* words;
  double value;
  bool whole;  // a count
};
std::vector<Line> Lines(const Report& report) {
  const auto tokens = static_cast<double>(report.total_input_tokens + report.total_output_tokens);
  return {{"duration", "Duration (s)", report.duration_seconds, false},
          {"completed", "Requests completed", static_cast<double>(report.completed), true},
          {"failed", "Requests failed", static_cast<double>(report.failed), true},
          {"max_concurrent_requests", "Requests at a time, at most",
           static_cast<double>(report.max_concurrent_requests), true},
          {"total_input_tokens", "Input tokens", static_cast<double>(report.total_input_tokens), true},
          {"total_cached_tokens", "Input tokens from the cache",
           static_cast<double>(report.total_cached_tokens), true},
          {"total_output_tokens", "Output tokens", static_cast<double>(report.total_output_tokens), true},
          {"request_throughput", "Requests per second", PerSecond(report.completed, report), false},
          {"output_throughput", "Output tokens per second",
           PerSecond(static_cast<double>(report.total_output_tokens), report), false},
          {"total_token_throughput", "All tokens per second", PerSecond(tokens, report), false}};
}

struct Latency {
  const char* key;
  const char* words;
  const Distribution& values;
};
std::vector<Latency> Latencies(const Report& report) {
  return {{"ttft", "Time to first token", report.ttft},
          {"tpot", "Time per output token", report.tpot},
          {"itl", "Between messages", report.itl},
          {"e2el", "End to end", report.e2el}};
}

}  // namespace

Distribution Describe(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Distribution distribution{.mean = std::accumulate(values.begin(), values.end(), 0.0) / values.size(),
                            .median = Percentile(values, 50),
                            .p90 = Percentile(values, 90),
                            .p95 = Percentile(values, 95),
                            .p99 = Percentile(values, 99)};
  double squares = 0;
  for (const double value : values) squares += (value - distribution.mean) * (value - distribution.mean);
  distribution.standard_deviation = std::sqrt(squares / values.size());
  return distribution;
}

Report Summarize(const RunResult& result) {
  constexpr double kMilliseconds = 1000;
  Report report{.duration_seconds = result.duration_seconds,
                .max_concurrent_requests = result.max_concurrent_requests};
  std::vector<double> ttft, tpot, itl, e2el;
  for (const RequestRecord& record : result.records) {
    if (!record.status.ok()) {
      ++report.failed;
      ++report.errors_by_status[absl::StatusCodeToString(record.status.code())];
      const std::string error(record.status.message());
      const bool known = std::find(report.errors.begin(), report.errors.end(), error) != report.errors.end();
      if (!known && report.errors.size() < kMaxErrors) report.errors.push_back(error);
      continue;
    }
    ++report.completed;
    report.total_input_tokens += record.prompt_tokens;
    report.total_cached_tokens += record.cached_tokens;
    report.total_output_tokens += record.output_tokens;
    ttft.push_back(kMilliseconds * record.first_seconds);
    e2el.push_back(kMilliseconds * record.last_seconds);
    if (record.output_tokens > 1)
      tpot.push_back(kMilliseconds * (record.last_seconds - record.first_seconds) /
                     (record.output_tokens - 1));
    for (const double gap : record.gaps) itl.push_back(kMilliseconds * gap);
  }
  report.ttft = Describe(std::move(ttft));
  report.tpot = Describe(std::move(tpot));
  report.itl = Describe(std::move(itl));
  report.e2el = Describe(std::move(e2el));
  return report;
}

nlohmann::ordered_json ToJson(const Report& report) {
  nlohmann::ordered_json json;
  for (const Line& line : Lines(report)) {
    if (line.whole) {
      json[line.key] = static_cast<int64_t>(line.value);
    } else {
      json[line.key] = line.value;
    }
  }
  for (const Latency& latency : Latencies(report)) {
    json[absl::StrCat("mean_", latency.key, "_ms")] = latency.values.mean;
    json[absl::StrCat("median_", latency.key, "_ms")] = latency.values.median;
    json[absl::StrCat("std_", latency.key, "_ms")] = latency.values.standard_deviation;
    json[absl::StrCat("p90_", latency.key, "_ms")] = latency.values.p90;
    json[absl::StrCat("p95_", latency.key, "_ms")] = latency.values.p95;
    json[absl::StrCat("p99_", latency.key, "_ms")] = latency.values.p99;
  }
  json["errors_by_status"] = report.errors_by_status;
  json["errors"] = report.errors;
  return json;
}

std::string ToTable(const Report& report) {
  std::string table;
  for (const Line& line : Lines(report))
    absl::StrAppendFormat(&table, "%-30s %12.*f\n", line.words, line.whole ? 0 : 2, line.value);
  absl::StrAppendFormat(&table, "\n%-22s %10s %10s %10s %10s %10s\n", "Milliseconds", "mean", "median", "p90",
                        "p99", "std");
  for (const Latency& latency : Latencies(report))
    absl::StrAppendFormat(&table, "%-22s %10.2f %10.2f %10.2f %10.2f %10.2f\n", latency.words,
                          latency.values.mean, latency.values.median, latency.values.p90, latency.values.p99,
                          latency.values.standard_deviation);
  for (const auto& [status, count] : report.errors_by_status)
    absl::StrAppendFormat(&table, "%-30s %12d\n", status, count);
  for (const std::string& error : report.errors) absl::StrAppend(&table, "error: ", error, "\n");
  return table;
}

}  // namespace ropeway::client
