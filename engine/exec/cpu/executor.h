// Runs steps on CPU threads. Owns the weights, the KV cache and the workspace.
//
// Submit, which computes the step, and Collect are called by one thread at a time; limits() and the other const methods
// by any.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_EXECUTOR_H_
#define ROPEWAY_ENGINE_EXEC_CPU_EXECUTOR_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cpu/pass.h"
#include "engine/kernels/ops.h"
#include "engine/model/tensor_source.h"
#include "engine/sample/logit_requests.h"
#include "engine/sample/sampler.h"

namespace ropeway {

struct CpuExecutorOptions {
  // Behaviour.
  kernels::KvType kv_type = kernels::KvType::kBF16;
  int32_t max_model_len = 0;  // positions per sequence; 0: the model's context length

  // Performance.
  std::string kernels = "auto";                 // "ref", "avx2", "avx512"; see kernels::SelectKernels
  int threads = 0;                              // 0: one per processor that the process may use
  std::function<void(int)> delay;               // of ThreadPoolOptions, for tests
  std::string pack_cache;                       // folder of packed matrices (pack_cache.h); empty: none
  int64_t kv_cache_bytes = int64_t{512} << 20;  // of keys and values, rounded down to whole pages; larger
                                                // serves more tokens at a time
  int32_t max_tokens_per_step = 512;
  int32_t max_rows_per_step = 256;

  LoadProgress progress = {};  // while weights are repacked
};

class CpuExecutor final : public Executor {
 public:
  // INVALID_ARGUMENT naming the option that is out of range; RESOURCE_EXHAUSTED when memory is too small for
  // it.
  static absl::StatusOr<std::unique_ptr<CpuExecutor>> Make(OpenedModel model,
                                                           const CpuExecutorOptions& options);

  const ExecutorLimits& limits() const override { return limits_; }
  void Submit(const StepPlan& plan) override;
  absl::StatusOr<StepResult> Collect() override;
  std::vector<double> RotationChoices(const AdmittedLengths& lengths) const override;

  const Decoder& decoder() const { return decoder_; }
  int threads() const { return pool_->size(); }
  // Of the pages. The last quad has memory for pages that there may not be, which is never written.
  int64_t kv_cache_bytes() const {
    return cache_.kv.page_bytes * limits_.num_pages * decoder_.spec().num_layers();
  }

  // Computes the plan and gives the logits of the given tokens of it to `visit`, row by row; for tools and
  // tests. REQUIRES: as Submit; indices ascending.
  void VisitLogits(const StepPlan& plan, absl::Span<const int32_t> indices,
                   const std::function<void(int32_t index, absl::Span<const float> logits)>& visit);

 private:
  CpuExecutor(Decoder decoder, std::unique_ptr<ThreadPool> pool, const kernels::KvLayout& kv,
              ExecutorLimits limits);

  absl::StatusOr<StepResult> Compute(const StepPlan& plan);
  // Runs the plan, then calls visit(member, i, logits of indices[i]) for all i, members in parallel.
  void Run(const StepPlan& plan, absl::Span<const int32_t> indices,
           const std::function<void(int member, size_t i, absl::Span<const float> logits)>& visit);
  void CopyPages(absl::Span<const PageCopy> copies);

  const Decoder decoder_;
  const ExecutorLimits limits_;
  const std::unique_ptr<ThreadPool> pool_;
  AlignedBuffer pages_;
  const KvCache cache_;
  Workspace workspace_;
  std::vector<Sampler> samplers_;                     // [threads]
  LogitRequests requests_;                            // of the step
  std::optional<absl::StatusOr<StepResult>> result_;  // not collected yet
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_EXECUTOR_H_
