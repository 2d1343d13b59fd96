// Steps that make a device ready before it serves: CUDA loads a kernel at its first launch, cuBLASLt looks
// for an algorithm at the first product of a shape, and a batch size becomes a graph after its first step.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_WARM_UP_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_WARM_UP_H_

#include <cstdint>
#include <vector>

#include "engine/api/step.h"

namespace ropeway {

// A prompt that is longer than a narrow tile of attention, with a score and a copy of a page; then decode
// steps of 1, 2, 4, ... rows, as many as there are graphs for. They write to pages that nothing relies on
// yet.
class WarmUp {
 public:
  WarmUp(const ExecutorLimits& limits, int32_t max_bucket);

  const std::vector<StepPlan>& plans() const { return plans_; }  // within the limits

 private:
  void AddPrompt(const ExecutorLimits& limits);
  void AddDecode(int32_t rows);

  const SamplingParams params_{.temperature = 1, .top_p = 0.9f};
  const std::vector<TokenId> next_tokens_ = {0};
  std::vector<std::vector<PageId>> tables_;  // by row
  std::vector<PageId> prompt_pages_;
  std::vector<StepPlan> plans_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_WARM_UP_H_
