// What a load generator sends, and when: deterministic from its seed.
#ifndef ROPEWAY_CLIENT_BENCH_WORKLOAD_H_
#define ROPEWAY_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace ropeway::client {

// One request of a load test.
struct WorkItem {
  std::variant<std::string, std::vector<int32_t>> prompt;  // text or token ids
  int32_t output_tokens = 0;                               // tokens to generate
  double start_seconds = 0;                                // not sent before, from the beginning of the run
};

struct WorkloadOptions {
  int32_t num_requests = 0;
  int32_t prompt_tokens = 0;         // token ids of each random prompt
  int32_t shared_prefix_tokens = 0;  // so many of them are the same in all prompts
  int32_t output_tokens = 0;
  int32_t vocab_size = 0;   // random ids are drawn uniformly from [0, vocab_size)
  double request_rate = 0;  // mean requests per second of a Poisson process; 0: all at once
  uint64_t seed = 0;
};

// Prompts of random token ids. REQUIRES: 0 <= shared_prefix_tokens <= prompt_tokens, vocab_size >= 1.
std::vector<WorkItem> MakeRandomWorkload(const WorkloadOptions& options);

// Prompts from text: each line is a prompt, or, where it begins with '{', a JSON object {"prompt": text or
// token ids, "output_tokens": optional}. Used from the first again where there are fewer than num_requests;
// num_requests 0 takes each once.
absl::StatusOr<std::vector<WorkItem>> MakeWorkloadFromLines(const std::string& lines,
                                                            const WorkloadOptions& options);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_WORKLOAD_H_
