// What a load generator sends, and when: deterministic from its seed.
#ifndef ROPEWAY_CLIENT_BENCH_WORKLOAD_H_
#define ROPEWAY_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace ropeway::client {

// Bytes of all prompts of a run, as they are held in memory.
inline constexpr int64_t kMaxWorkloadBytes = int64_t{1} << 30;

// The last request of a run starts by then.
inline constexpr int64_t kMaxStartSeconds = 366 * 24 * 60 * 60;

// One request of a load test.
struct WorkItem {
  // Text or token ids.
  std::variant<std::string, std::vector<int32_t>> prompt;
  // Tokens to generate.
  int32_t output_tokens = 0;
  // From the beginning of the run; not sent before.
  double start_seconds = 0;
};

struct WorkloadOptions {
  int32_t num_requests = 0;
  // Token ids of each random prompt, of which so many are the same in all prompts.
  int32_t prompt_tokens = 0;
  int32_t shared_prefix_tokens = 0;
  int32_t output_tokens = 0;
  // Random ids are drawn uniformly from [0, vocab_size).
  int32_t vocab_size = 0;
  // Mean requests per second of a Poisson process; 0: all at once.
  double request_rate = 0;
  uint64_t seed = 0;
};

// Prompts of random token ids. INVALID_ARGUMENT beyond kMaxWorkloadBytes and kMaxStartSeconds. REQUIRES: 0 <=
// shared_prefix_tokens <= prompt_tokens, vocab_size >= 1.
absl::StatusOr<std::vector<WorkItem>> MakeRandomWorkload(const WorkloadOptions& options);

// Prompts from text: each line is a prompt, or, where it begins with '{', a JSON object {"prompt": text or
// token ids, "output_tokens": optional}. Used from the first again where there are fewer than num_requests;
// num_requests 0 takes each once. INVALID_ARGUMENT as above, and naming a line that is wrong.
absl::StatusOr<std::vector<WorkItem>> MakeWorkloadFromLines(const std::string& lines,
                                                            const WorkloadOptions& options);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_WORKLOAD_H_
