// Plans made by hand, and what an executor computes for them, for tests of whole models.
#ifndef ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_RUNS_H_
#define ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_RUNS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/executor.h"

namespace ropeway::testing {

// A slice of a sequence.
struct RunRow {
  absl::Span<const TokenId> ids;
  int32_t first_position = 0;
  absl::Span<const PageId> pages;  // of the whole sequence
  AdmittedLengths lengths = {};    // of the request
};

StepPlan PlanOf(absl::Span<const RunRow> rows);

// Pages first, first + 1, ... that hold `num_tokens` tokens.
std::vector<PageId> PagesFrom(PageId first, size_t num_tokens);

// Either executor, as what computes a plan and shows logits of it. Made where one is passed; it outlives this.
class LogitSource {
 public:
  using Visitor = std::function<void(int32_t index, absl::Span<const float> logits)>;

  LogitSource(CpuExecutor& executor);
  LogitSource(CudaExecutor& executor);  // a step that fails fails the test

  void Visit(const StepPlan& plan, absl::Span<const int32_t> indices, const Visitor& visit) const {
    visit_(plan, indices, visit);
  }

 private:
  std::function<void(const StepPlan&, absl::Span<const int32_t>, const Visitor&)> visit_;
};

// Called with the position of a token and the logits that follow it, [V], in order of positions.
using LogitVisitor = std::function<void(int32_t position, absl::Span<const float> logits)>;

// Computes `ids`, a whole sequence, in chunks of at most `chunk` tokens, one token at a time from position
// decode_from on, and visits positions >= first_visited.
void RunSequence(const LogitSource& executor, absl::Span<const TokenId> ids, absl::Span<const PageId> pages,
                 int chunk, int32_t first_visited, const LogitVisitor& visit,
                 const AdmittedLengths& lengths = {}, int32_t decode_from = INT32_MAX);

// The logits of all positions >= first_visited, one row after the other.
std::vector<float> LogitsOf(const LogitSource& executor, absl::Span<const TokenId> ids,
                            absl::Span<const PageId> pages, int chunk, int32_t first_visited = 0,
                            const AdmittedLengths& lengths = {}, int32_t decode_from = INT32_MAX);

// An executor of the model at `path`.
absl::StatusOr<std::unique_ptr<CpuExecutor>> OpenExecutor(const std::string& path,
                                                          const CpuExecutorOptions& options);

// Of "ref", "avx2", "avx512" those that this processor runs.
std::vector<std::string> UsableKernels();

TokenId Likeliest(absl::Span<const float> logits);

// |a - b|, and infinity where that is not a number: std::max would pass over it.
float DifferenceOf(float a, float b);

// Root mean square of the differences over that of `b`. Fails the test where one is longer than the other.
double Distance(absl::Span<const float> a, absl::Span<const float> b);

// Natural log-probabilities under softmax(logits).
std::vector<double> LogProbabilities(absl::Span<const float> logits);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_RUNS_H_
