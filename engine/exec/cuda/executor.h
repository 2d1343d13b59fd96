// Runs steps on one CUDA device, or on a tensor-parallel group of them with one thread each.
//
// Everything of CUDA is behind cuda::Backend: libropeway_cuda.so (OpenCudaBackend), or the emulation in
// tests. Submit and Collect are called by one thread at a time; limits() and lost() by any.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_EXECUTOR_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_EXECUTOR_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/api/step.h"
#include "engine/base/clock.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cuda/rank.h"
#include "engine/kernels/cuda/backend.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct CudaExecutorOptions {
  // Behaviour.
  std::optional<cuda::Element> element;       // of activations; none: ChooseElement (element_choice.h)
  std::optional<cuda::KvElement> kv_element;  // none: that of the activations
  bool fp8_weights = false;   // dense matrices of layers and experts become fp8 (kernels/cuda/fp8.h)
  int32_t max_model_len = 0;  // positions per sequence; 0: the model's context length
  int32_t max_logprobs = 20;  // that a row may ask for

  // Performance.
  int tensor_parallel = 1;       // devices [0, n) share the model
  double memory_fraction = 0.9;  // of the free device memory, for all of it
  int64_t kv_cache_bytes = 0;    // of keys and values on each device; 0: what weights and workspace leave
  int32_t max_tokens_per_step = 512;
  int32_t max_rows_per_step = 256;
  int32_t max_changes = 1 << 20;  // to logits (penalties, biases) that device memory has room for at a time
  bool gemm_search = true;  // algorithms of products are chosen by measuring; else by the library's estimate
  std::string gemm_cache;   // file of what earlier searches chose; empty: none
  // With gemm_search also which kernels make products where there are several, by this clock, during Make; null: constants
  // decide.
  const Clock* clock = nullptr;
  bool use_wgmma = true;  // by attention and products, where a device has it and gives the bytes of mma.sync
  // By products for few tokens, where a device has them and gives the same bytes.
  bool use_bulk_copies = true;
  // 1: the device idles while the next step is planned.
  int32_t max_steps_in_flight = kMaxStepsInFlight;
  bool use_graphs = true;  // decode steps are captured once and replayed
  bool warm_up = false;    // Make runs some steps, so that no request waits for what is done once

  LoadProgress progress = {};  // while weights are uploaded
};

class CudaExecutor final : public Executor {
 public:
  // Nothing of `model` is used after Make; `backend` lives forever. UNAVAILABLE where there is no usable
  // device or driver; INVALID_ARGUMENT naming the option that is out of range; UNIMPLEMENTED naming what the
  // kernels do not support; RESOURCE_EXHAUSTED where the device has not enough memory.
  static absl::StatusOr<std::unique_ptr<CudaExecutor>> Make(const OpenedModel& model,
                                                            const cuda::Backend& backend,
                                                            const CudaExecutorOptions& options);

  const ExecutorLimits& limits() const override { return limits_; }
  void Submit(const StepPlan& plan) override;
  absl::StatusOr<StepResult> Collect() override;
  std::vector<double> RotationChoices(const AdmittedLengths& lengths) const override;

  // Computes the plan and gives the logits of the given tokens of it to `visit`, one after the other; for
  // tools and tests.
  absl::Status VisitLogits(const StepPlan& plan, absl::Span<const int32_t> indices,
                           const std::function<void(int32_t index, absl::Span<const float> logits)>& visit);
  bool lost() const override { return lost_.load(std::memory_order_acquire); }

  // "NVIDIA H100, bf16" or "2 x NVIDIA H100, bf16", and why where it is not the file's type.
  const std::string& description() const { return description_; }

  // Of all devices, which got theirs one after the other.
  CudaUpload upload() const;

  // Of all devices: weights that are held as fp8.
  int64_t fp8_numbers() const;

  // How matrices are multiplied on the first device, a line for each shape.
  std::vector<std::string> products() const { return ranks_[0]->products(); }

 private:
  CudaExecutor(const DecoderSpec& spec, std::vector<std::unique_ptr<CudaRank>> ranks,
               std::unique_ptr<ThreadPool> pool, const ExecutorLimits& limits, std::string description);
  // A step in flight: its results come by the slot of its number.
  struct Slot {
    CudaStep step;
    absl::Status submitted;
  };

  absl::Status Launch(const StepPlan& plan, int slot);
  absl::StatusOr<StepResult> Finish(int slot);
  absl::Status WarmUpDevice();
  absl::Status OnAllRanks(absl::FunctionRef<absl::Status(CudaRank&)> run);
  void StopCapturingWhereOneFailed();

  const DecoderSpec spec_;
  const std::vector<std::unique_ptr<CudaRank>> ranks_;
  const ExecutorLimits limits_;
  const std::string description_;
  const std::unique_ptr<ThreadPool> pool_;  // member i runs rank i
  std::vector<absl::Status> statuses_;      // [ranks]: to wait for a step takes no memory
  std::vector<Slot> slots_;                 // [max_steps_in_flight], in turn
  int oldest_ = 0;                          // of those in flight
  int num_in_flight_ = 0;
  std::string warning_;  // not told yet
  std::atomic<bool> lost_ = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_EXECUTOR_H_
