#include "server/make_executor.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/ops.h"
#include "server/memory.h"

namespace ropeway::server {
namespace {

// Where the memory for keys and values is not set: this part of what is free, so that two servers and a build
// fit beside each other on a laptop.
constexpr int64_t kMemoryPart = 4;

kernels::KvType KvTypeOf(const Config& config) {
  return config.kv_type == "f32" ? kernels::KvType::kF32 : kernels::KvType::kBF16;
}

// As configured; or room for a full batch of longest sequences, where a part of the free memory holds that.
int64_t KvCacheBytes(const Config& config, const DecoderSpec& spec) {
  if (config.kv_cache_mb > 0) return config.kv_cache_mb << 20;
  const kernels::KvLayout layout =
      kernels::MakeKvLayout(KvTypeOf(config), spec.num_kv_heads, spec.head_dim, spec.value_dim);
  const int64_t page_bytes = layout.page_bytes * spec.num_layers();
  const int64_t longest = config.max_model_len > 0 ? config.max_model_len : spec.context_length;
  const int64_t pages_per_sequence = (longest + kPageTokens - 1) / kPageTokens;
  const int64_t wanted = page_bytes * pages_per_sequence * config.max_running;
  return std::max(std::min(wanted, AvailableMemoryBytes() / kMemoryPart), page_bytes);
}

CpuExecutorOptions ExecutorOptionsOf(const Config& config, const DecoderSpec& spec) {
  return {.kv_type = KvTypeOf(config),
          .max_model_len = config.max_model_len,
          .kernels = config.kernels,
          .threads = config.threads,
          .kv_cache_bytes = KvCacheBytes(config, spec),
          .max_tokens_per_step = config.max_tokens_per_step,
          .max_rows_per_step = std::min(config.max_tokens_per_step, config.max_running)};
}

std::optional<cuda::Element> ElementOf(const std::string& dtype) {
  if (dtype == "f32") return cuda::Element::kF32;
  if (dtype == "f16") return cuda::Element::kF16;
  if (dtype == "bf16") return cuda::Element::kBF16;
  return std::nullopt;
}

std::optional<cuda::KvElement> KvElementOf(const std::string& kv_type) {
  if (kv_type == "f32") return cuda::KvElement::kF32;
  if (kv_type == "f16") return cuda::KvElement::kF16;
  if (kv_type == "bf16") return cuda::KvElement::kBF16;
  if (kv_type == "fp8") return cuda::KvElement::kFp8E4M3;
  if (kv_type == "int8") return cuda::KvElement::kInt8;
  return std::nullopt;
}

absl::StatusOr<MadeExecutor> MakeOnCuda(const Config& config, const OpenedModel& model,
                                        const CudaBackendOpener& open_backend) {
  ASSIGN_OR_RETURN(const cuda::Backend* backend, open_backend());
  const CudaExecutorOptions options{
      .element = ElementOf(config.dtype),
      .kv_element = KvElementOf(config.kv_type),
      .max_model_len = config.max_model_len,
      .max_logprobs = config.max_logprobs,
      .tensor_parallel = config.tensor_parallel,
      .memory_fraction = config.gpu_memory_fraction,
      .kv_cache_bytes = config.kv_cache_mb << 20,
      .max_tokens_per_step = config.max_tokens_per_step,
      .max_rows_per_step = std::min(config.max_tokens_per_step, config.max_running)};
  ASSIGN_OR_RETURN(auto executor, CudaExecutor::Make(model, *backend, options));
  MadeExecutor made;
  made.kernels = absl::StrCat("cuda: ", executor->description());
  made.num_threads = config.tensor_parallel;
  made.executor = std::move(executor);
  return made;
}

absl::StatusOr<MadeExecutor> MakeOnCpu(const Config& config, OpenedModel model) {
  const CpuExecutorOptions options = ExecutorOptionsOf(config, model.spec);
  ASSIGN_OR_RETURN(auto executor, CpuExecutor::Make(std::move(model), options));
  MadeExecutor made;
  made.kernels = executor->decoder().table().name;
  made.num_threads = executor->threads();
  made.executor = std::move(executor);
  return made;
}

}  // namespace

absl::StatusOr<MadeExecutor> MakeExecutor(const Config& config, OpenedModel model,
                                          const CudaBackendOpener& open_backend) {
  if (config.device == "cpu") return MakeOnCpu(config, std::move(model));
  absl::StatusOr<MadeExecutor> on_cuda = MakeOnCuda(config, model, open_backend);
  if (on_cuda.ok()) return on_cuda;
  const std::string why(on_cuda.status().message());
  if (config.device == "cuda")
    return absl::Status(on_cuda.status().code(), absl::StrCat("--device=cuda: ", why));
  if (!absl::c_linear_search(kCpuKvTypes, config.kv_type)) {
    return absl::InvalidArgumentError(absl::StrCat("--kv_type must be one of ",
                                                   absl::StrJoin(kCpuKvTypes, ", "), " without a GPU, is \"",
                                                   config.kv_type, "\" (", why, ")"));
  }
  ASSIGN_OR_RETURN(MadeExecutor on_cpu, MakeOnCpu(config, std::move(model)));
  on_cpu.warning = why;
  return on_cpu;
}

}  // namespace ropeway::server
