// One device of a CudaExecutor: its share of the weights, its pages of the KV cache, its stream and graphs.
//
// A step is one copy to the device, launches, one copy back and one wait (one more for each further window of
// changes to logits, engine/exec/cuda/step.h); all memory is allocated by Load. Decode steps are padded to a
// bucket (BucketOf) and replayed as a graph from the second step of a bucket on: the first runs as it is,
// which also makes whatever the capture forbids (plans of matrix products), and is then captured.
//
// Used by one thread at a time; Make, Load and Run make the device that thread's.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/exec/cuda/memory.h"
#include "engine/exec/cuda/pass.h"
#include "engine/exec/cuda/step.h"
#include "engine/exec/cuda/weights.h"
#include "engine/kernels/cuda/backend.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct CudaRankOptions {
  const OpenedModel* model = nullptr;  // until Load returned
  cuda::Element element = cuda::Element::kBF16;
  cuda::KvElement kv_element = cuda::KvElement::kBF16;
  Shard shard;
  bool use_graphs = true;
  int32_t max_model_len = 0;
  int32_t max_tokens = 0, max_rows = 0;  // of a step
  int32_t max_logprobs = 0;
  double memory_fraction = 0;  // of the device's free memory that may be taken
  int64_t kv_cache_bytes = 0;  // 0: what is left of it
  std::function<void(int layers_done)> progress;
};

// What libropeway_cuda.so made for the rank; destroyed from the last to the first.
struct CudaRankParts {
  std::unique_ptr<cuda::Runtime> runtime;
  std::unique_ptr<cuda::Gemm> gemm;
  std::unique_ptr<cuda::Collective> collective;  // null: one rank
  const cuda::KernelTable* kernels = nullptr;
};

class CudaRank {
 public:
  // Checks that device and kernels can run the model and plans the device's memory. UNIMPLEMENTED naming
  // what has no kernel and what has; RESOURCE_EXHAUSTED naming the bytes that are needed and free.
  static absl::StatusOr<std::unique_ptr<CudaRank>> Make(CudaRankParts parts, const CudaRankOptions& options);
  ~CudaRank();

  int32_t num_pages() const { return num_pages_; }  // that fit
  const CudaStepOptions& step_options() const { return step_options_; }
  const cuda::DeviceInfo& device() const { return device_; }

  // Allocates everything, with so many pages of keys and values, and uploads the weights.
  absl::Status Load(int32_t num_pages);

  absl::Status Run(const CudaStep& step);

  // Of the last Run, on rank 0; in pinned memory.
  CudaResultArrays results(const CudaStep& step) const;

  // Ends what other ranks wait for, after this one failed.
  void AbortGroup();

  // Whether nothing can run on the device any more.
  bool lost() const { return lost_; }

 private:
  using GraphKey = std::pair<int32_t, int32_t>;  // rows, max_pages

  CudaRank(CudaRankParts parts, const CudaRankOptions& options);
  absl::Status PlanMemory();
  absl::Status PlanPages();
  CudaStepShape LargestStep() const;
  int32_t max_top() const { return std::max(options_.max_logprobs, 1); }
  CudaActivationsShape ActivationsShape() const;
  cuda::KvPages Kv() const;
  CudaPassContext Context() const;

  absl::Status Check(cuda::ErrorCode code, absl::string_view what);
  absl::Status StatusOf(const CudaPass& pass);
  absl::Status AllocateWorkspace();
  absl::Status AllocatePages();
  absl::Status RunOn(const CudaStep& step);
  absl::Status Compute(const CudaStep& step, CudaPass& pass);
  absl::Status Sample(const CudaStep& step, const LogitRound& round, const CudaResultArrays& results,
                      CudaPass& pass);
  absl::Status UploadChanges(const CudaStep& step, const ChangeWindow& window);
  absl::Status Capture(const CudaStep& step, CudaPass& pass);
  absl::Status FetchResults(const CudaStep& step);
  void DropGraphs();
  CudaResultArrays ResultsIn(const CudaStep& step, uint8_t* block) const;

  // Constant after Load.
  CudaRankParts parts_;
  CudaRankOptions options_;
  const DecoderSpec spec_;  // of this rank
  cuda::DeviceInfo device_;
  cuda::AttentionBounds bounds_;
  CudaStepOptions step_options_;
  int32_t num_pages_ = 0;
  int64_t weight_bytes_ = 0, activation_bytes_ = 0, input_bytes_ = 0, result_bytes_ = 0;
  cuda::Stream stream_;
  CudaMemory weight_memory_, working_memory_, kv_memory_, kv_scale_memory_;
  CudaWeights weights_;
  CudaActivations activations_ = {};

  // Of the steps.
  CudaMemory host_inputs_, device_inputs_;
  CudaMemory host_results_, device_results_;
  std::map<GraphKey, cuda::Graph> graphs_;
  bool lost_ = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_
