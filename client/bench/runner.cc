#include "client/bench/runner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "absl/synchronization/mutex.h"

namespace ropeway::client {

RunResult RunWorkload(LoadTarget& target, const std::vector<WorkItem>& items, int32_t concurrency,
                      const std::function<void(int32_t)>& on_done) {
  using Clock = std::chrono::steady_clock;
  RunResult result{.records = std::vector<RequestRecord>(items.size())};
  std::atomic<size_t> next = 0;
  absl::Mutex mutex;  // guards the counts
  int32_t running = 0;
  int32_t done = 0;
  const Clock::time_point start = Clock::now();
  const auto work = [&] {
    for (size_t i; (i = next++) < items.size();) {
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(
                                                std::chrono::duration<double>(items[i].start_seconds)));
      {
        absl::MutexLock lock(&mutex);
        result.max_concurrent_requests = std::max(result.max_concurrent_requests, ++running);
      }
      result.records[i] = target.Run(items[i]);
      absl::MutexLock lock(&mutex);
      --running;
      ++done;
      if (on_done) on_done(done);
    }
  };
  std::vector<std::thread> threads;
  const size_t num_threads = std::min<size_t>(concurrency, items.size());
  for (size_t i = 0; i < num_threads; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  result.duration_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

}  // namespace ropeway::client
