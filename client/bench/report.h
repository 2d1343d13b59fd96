// What a load test found, in numbers and under names that others use.
#ifndef ROPEWAY_CLIENT_BENCH_REPORT_H_
#define ROPEWAY_CLIENT_BENCH_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/bench/runner.h"
#include "nlohmann/json.hpp"

namespace ropeway::client {

// Of milliseconds. Percentiles interpolate linearly between ranks; the deviation is that of the whole
// population. All are 0 where there is no value.
struct Distribution {
  double mean = 0, median = 0, standard_deviation = 0, p90 = 0, p95 = 0, p99 = 0;
};
Distribution Describe(std::vector<double> values);

struct Report {
  double duration_seconds = 0;
  int32_t completed = 0;
  int32_t failed = 0;
  int32_t max_concurrent_requests = 0;

  // Of completed requests, as all below but the errors.
  int64_t total_input_tokens = 0;
  // Of these, taken from the server's prefix cache.
  int64_t total_cached_tokens = 0;
  int64_t total_output_tokens = 0;
  // Time to the first token.
  Distribution ttft;
  // Time per output token after the first, (end - first) / (tokens - 1), of answers with two or more.
  Distribution tpot;
  // Between messages of a stream, over all requests.
  Distribution itl;
  // Time to the last token.
  Distribution e2el;

  // How many requests failed with each status: "RESOURCE_EXHAUSTED": 3.
  std::map<std::string, int32_t> errors_by_status;
  // Distinct messages of failures.
  std::vector<std::string> errors;
};
Report Summarize(const RunResult& result);

// The keys of `vllm bench serve`: request_throughput, mean_ttft_ms, ...
nlohmann::ordered_json ToJson(const Report& report);
std::string ToTable(const Report& report);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_REPORT_H_
