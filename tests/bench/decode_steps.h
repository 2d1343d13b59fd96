// Steps of an executor as benchmarks give them to it: rows of prompts, and decode steps of several streams whose contexts are
// of any length.
#ifndef ROPEWAY_TESTS_BENCH_DECODE_STEPS_H_
#define ROPEWAY_TESTS_BENCH_DECODE_STEPS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engine/api/request.h"
#include "engine/api/step.h"

namespace ropeway {

// Steps that a context grows by, over and over: it is as long as at first and half of them more, on average.
inline constexpr int32_t kDecodeSteps = 64;

// One table of pages a stream, of `tokens` tokens, as a server has them that took one prompt after the other, of all but
// kDecodeSteps tokens.
std::vector<std::vector<PageId>> PageTables(int32_t num_pages, int streams, int32_t tokens);

// A row of the step: tokens [first, first + count) of the sequence with these pages, which `plan` points to.
void AddRow(const std::vector<PageId>& table, int32_t first, int32_t count, StepPlan& plan,
            const SamplingParams& greedy);

// Steps of one token of each stream, as many in flight as the executor takes.
class DecodeSteps {
 public:
  // `start` tokens are in each stream's context before the first step.
  DecodeSteps(Executor& executor, int streams, int32_t start)
      : executor_(executor),
        start_(start),
        tables_(PageTables(executor.limits().num_pages, streams, start + kDecodeSteps)) {}

  // Puts numbers into the cache wherever steps will read it, before the first one: what was never written would be one page
  // of zeros, many times, and come from processors' caches.
  absl::Status Fill() const;
  // Whether the oldest step, which it waits for, went well.
  bool Run();
  bool Finish();

 private:
  void Submit();
  bool Collect();

  Executor& executor_;
  const int32_t start_;
  const SamplingParams greedy_{.temperature = 0};
  const std::vector<std::vector<PageId>> tables_;
  int32_t step_ = 0;
  int32_t in_flight_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_DECODE_STEPS_H_
