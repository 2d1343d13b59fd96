// How the memory of one device is divided, before any of it is allocated. Pure: facts in, numbers out.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_PLAN_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_PLAN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/exec/cuda/pass.h"
#include "engine/exec/cuda/step.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/kv_pages.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/model/decoder_spec.h"

namespace ropeway {

// Rows of logits that are computed at a time, and the largest batch that becomes a graph.
inline constexpr int32_t kMaxLogitRows = 256;

struct CudaMemoryOptions {
  cuda::Element element = cuda::Element::kBF16;
  cuda::KvElement kv_element = cuda::KvElement::kBF16;
  bool use_graphs = true;
  bool use_wgmma = true;                 // as CudaExecutorOptions say
  bool samples = true;                   // one rank of a group does
  int32_t max_model_len = 0;             // >= 1
  int32_t max_tokens = 0, max_rows = 0;  // of a step
  int32_t max_logprobs = 0;
  int64_t largest_packed_matrix = 0;  // numbers of the largest matrix that stays packed on the device
  bool fp8_weights = false;           // dense matrices of layers and of experts become fp8
  Fp8Widths widest_fp8;               // of them; known once weights were counted
  int64_t widest_split_input = 0;     // as in CudaWeights; likewise
  int32_t max_changes = 0;            // to logits, at a time; the vocabulary where that is more
  double memory_fraction = 0;         // of the device's free memory that may be taken
  int64_t kv_cache_bytes = 0;         // 0: what is left of it
};

struct CudaMemoryPlan {
  CudaStepOptions step;
  CudaStepShape largest_step;  // no array of any step has more elements
  CudaActivationsShape activations;
  int32_t max_top = 0;  // likeliest tokens that results have room for, in each row
  int64_t weight_bytes = 0, activation_bytes = 0, input_bytes = 0, result_bytes = 0;
  int64_t page_bytes = 0;  // keys, values and scales of all layers
  int32_t num_pages = 0;

  int64_t working_bytes() const { return activation_bytes + input_bytes + result_bytes; }
};

// Whether there are kernels for the model on the device. UNIMPLEMENTED naming what has none, and what has.
// `spec` is that of one rank; likewise below.
absl::Status CheckSupported(const DecoderSpec& spec, const CudaMemoryOptions& options,
                            const cuda::DeviceInfo& device);

// Keys and values get what weights and workspace leave. RESOURCE_EXHAUSTED naming the bytes that are needed
// and free. REQUIRES: CheckSupported.
absl::StatusOr<CudaMemoryPlan> PlanMemory(const DecoderSpec& spec, const CudaMemoryOptions& options,
                                          const cuda::DeviceInfo& device, int64_t weight_bytes);

// One layer's pages, nowhere yet.
cuda::KvPages KvPagesOf(const DecoderSpec& spec, cuda::KvElement element);

const char* NameOf(cuda::Element element);
const char* NameOf(cuda::KvElement element);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_PLAN_H_
