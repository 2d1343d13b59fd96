// Sends a workload and gathers what was measured.
#ifndef ROPEWAY_CLIENT_BENCH_RUNNER_H_
#define ROPEWAY_CLIENT_BENCH_RUNNER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "client/bench/load_target.h"
#include "client/bench/workload.h"

namespace ropeway::client {

// Each request that is on its way has a thread.
inline constexpr int32_t kMaxConcurrency = 2048;

struct RunResult {
  // In the order of the items.
  std::vector<RequestRecord> records;
  // From the beginning to the last answer.
  double duration_seconds = 0;
  int32_t max_concurrent_requests = 0;
};

// Sends the items in order, each not before its time and at most `concurrency` at a time, and waits for all
// answers. `on_done(count)` is called as answers end, one call at a time.
// REQUIRES: 1 <= concurrency <= kMaxConcurrency.
RunResult RunWorkload(LoadTarget& target, const std::vector<WorkItem>& items, int32_t concurrency,
                      const std::function<void(int32_t)>& on_done = nullptr);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_BENCH_RUNNER_H_
