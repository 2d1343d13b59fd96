// One device of a CudaExecutor: its share of the weights, its pages of the KV cache, its stream and graphs.
//
// A step is one copy to the device, launches, one copy back and one wait; all memory is allocated by Load. Only where
// changes to logits are more than there is room for (engine/exec/cuda/step.h) the host waits in the middle of a step, that
// of every rank, since the rank that samples waits for sums of all. What steps in flight have of their own is pinned memory,
// for inputs and results, and an event; on the device the stream's order keeps them apart, so that graphs find everything
// at one place. Tokens stay there as the inputs of the next step, for which the rank that samples tells the others. Decode
// steps are padded to a bucket (BucketOf) and replayed as a graph from the second step of a bucket on: the first runs
// as it is, which also makes whatever the capture forbids (plans of matrix products), and is then captured.
// Where a capture fails, steps run without graphs from then on.
//
// Used by one thread at a time; Make, Load, Submit and Wait make the device that thread's.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/checked_kernels.h"
#include "engine/exec/cuda/graph_cache.h"
#include "engine/exec/cuda/memory.h"
#include "engine/exec/cuda/memory_plan.h"
#include "engine/exec/cuda/pass.h"
#include "engine/exec/cuda/step.h"
#include "engine/exec/cuda/weights.h"
#include "engine/kernels/cuda/backend.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct CudaRankOptions {
  const OpenedModel* model = nullptr;  // until Load returned
  Shard shard;
  CudaMemoryOptions memory;
  int steps_in_flight = 1;
  bool use_bulk_copies = true;   // as CudaExecutorOptions say
  const Clock* clock = nullptr;  // likewise, until Load returned; null also where nothing is to be measured
  std::vector<DType> packed_types = {};  // of matrices that stay packed
  LoadProgress progress = {};
};

// What libropeway_cuda.so made for the rank; destroyed from the last to the first.
struct CudaRankParts {
  std::unique_ptr<cuda::Runtime> runtime;
  std::unique_ptr<cuda::Gemm> gemm;
  std::unique_ptr<cuda::Collective> collective;  // null: one rank
  const cuda::KernelTable* kernels = nullptr;
  const cuda::Fp8KernelTable* fp8_kernels = nullptr;
};

class CudaRank {
 public:
  // Checks that device and kernels can run the model and plans the device's memory. UNIMPLEMENTED naming
  // what has no kernel and what has; RESOURCE_EXHAUSTED naming the bytes that are needed and free.
  static absl::StatusOr<std::unique_ptr<CudaRank>> Make(CudaRankParts parts, const CudaRankOptions& options);
  ~CudaRank();

  // How matrices are multiplied, for the log; after Load.
  std::vector<std::string> products() const;

  // Of Load.
  const CudaUpload& upload() const { return upload_; }

  // Of Make; what other ranks have may be less.
  const CudaMemoryPlan& plan() const { return plan_; }
  int64_t fp8_numbers() const { return fp8_numbers_; }  // weights that are fp8
  const cuda::DeviceInfo& device() const { return device_; }

  // Allocates everything, with so many pages of keys and values, and uploads the weights.
  absl::Status Load(int32_t num_pages);

  // Puts the step on the stream. `slot`, in [0, steps_in_flight), is that of no step in flight. Where it fails, all that
  // was in flight is done.
  absl::Status Submit(const CudaStep& step, int slot);
  // Waits until the step is done; where that fails, until all that was in flight is.
  absl::Status Wait(int slot);

  // Of a step that was waited for, until its slot is used again, on rank 0; in pinned memory.
  CudaResultArrays results(const CudaStep& step, int slot) const;

  // Computes the logits of tokens of the last step, on rank 0, and gives them to `visit`, one after the other.
  // For tools: allocates. REQUIRES: as many as a round may have, and no step in flight.
  absl::Status VisitLogits(absl::Span<const int32_t> tokens,
                           const std::function<void(int32_t token, absl::Span<const float> logits)>& visit);

  // Ends what other ranks wait for, after this one failed.
  void AbortGroup();

  // Why the last Submit could not capture its step; OK where it did, or had not to.
  const absl::Status& capture_status() const { return capture_status_; }
  // No graphs any more. All ranks of a group run with graphs, or none does.
  void StopCapturing() { graphs_.Close(); }

  // Whether nothing can run on the device any more.
  bool lost() const { return lost_; }

 private:
  CudaRank(CudaRankParts parts, const CudaRankOptions& options);
  int32_t* Sampled() const;
  CudaPassContext Context();
  CudaWeightsRequest WeightsRequest() const;  // until the model is let go
  cuda::KvPages Kv() const;

  absl::Status Check(cuda::ErrorCode code, absl::string_view what);
  absl::Status StatusOf(const CudaPass& pass);
  absl::Status AllocateWorkspace();
  absl::Status AllocatePages();
  absl::Status FillWithNumbers();
  absl::Status PrepareProducts();
  WantedKernels Wanted() const;
  absl::Status Launch(const CudaStep& step, int slot);
  void Settle();
  // Between the device and pinned memory, in the stream; `bytes` as a Carver used.
  cuda::ErrorCode Copy(uint8_t* to, const uint8_t* from, int64_t bytes, cuda::CopyKind kind);
  absl::Status Compute(const CudaStep& step, int slot, const CudaPassContext& context,
                       const CudaStepArrays& arrays);
  absl::Status RunRounds(const CudaStep& step, int slot, bool with_logits, CudaPass& pass);
  absl::Status UploadChanges(const CudaStep& step, int slot, const LogitRound& round);
  absl::Status Capture(const CudaStep& step, const CudaPassContext& context, const CudaStepArrays& arrays);
  absl::Status CaptureGraph(const CudaStep& step, CudaPass& pass, cuda::Graph* graph);
  absl::Status FetchResults(const CudaStep& step, int slot);
  CudaResultArrays ResultsIn(const CudaStep& step, uint8_t* block) const;

  // Constant after Load.
  CudaRankParts parts_;
  CudaRankOptions options_;
  const DecoderSpec spec_;                          // of this rank
  std::vector<kernels::ModifierTables> modifiers_;  // on the host, until Load has moved them
  cuda::DeviceInfo device_;
  CudaMemoryPlan plan_;
  int64_t fp8_numbers_ = 0;
  int32_t num_pages_ = 0;
  cuda::Stream stream_;
  CudaMemory weight_memory_, working_memory_, kv_memory_, kv_scale_memory_;
  CudaWeights weights_;
  CudaUpload upload_;
  ProductChoices choices_;
  CheckedKernels checked_;
  std::vector<LayerFusion> fusions_;  // [L]
  CudaActivations activations_ = {};

  // Of the steps.
  struct Slot {
    CudaMemory inputs, results;  // pinned
    cuda::Event done;
  };
  std::vector<Slot> slots_;  // [steps_in_flight]
  CudaMemory device_inputs_, device_results_;
  GraphCache graphs_;
  absl::Status capture_status_;
  bool lost_ = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_RANK_H_
