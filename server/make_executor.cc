#include "server/make_executor.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/ceil_div.h"
#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/machine.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/ops.h"
#include "server/config/setting.h"

namespace ropeway::server {
namespace {

// Where the memory for keys and values is not set: this part of what is free, so that two servers and a build
// fit beside each other on a laptop.
constexpr int64_t kMemoryPart = 4;

// REQUIRES: IsOnCpu(type).
kernels::KvType CpuKvTypeOf(KvCacheType type) {
  ROPEWAY_CHECK(IsOnCpu(type));
  return type == KvCacheType::kF32 ? kernels::KvType::kF32 : kernels::KvType::kBF16;
}

int32_t MaxRowsPerStep(const Config& config, Device device) {
  return std::min(config.max_tokens_per_step.On(device), config.max_running.On(device));
}

int64_t PageBytes(const Config& config, const DecoderSpec& spec) {
  const kernels::KvLayout layout =
      kernels::MakeKvLayout(CpuKvTypeOf(config.kv_type), spec.num_kv_heads, spec.head_dim, spec.value_dim);
  return layout.page_bytes * spec.num_layers();
}

// As configured; or room for a full batch of longest sequences, where a part of the free memory holds that.
int64_t KvCacheBytes(const Config& config, const DecoderSpec& spec) {
  if (config.kv_cache_mb > 0) return config.kv_cache_mb << 20;
  const int64_t page_bytes = PageBytes(config, spec);
  const int64_t longest = config.max_model_len > 0 ? config.max_model_len : spec.context_length;
  const int64_t pages_per_sequence = CeilDiv<int64_t>(longest, kPageTokens);
  const int64_t wanted = page_bytes * pages_per_sequence * config.max_running.On(Device::kCpu);
  return std::max(std::min(wanted, LookAtMachine().free_bytes / kMemoryPart), page_bytes);
}

CpuExecutorOptions ExecutorOptionsOf(const Config& config, const DecoderSpec& spec,
                                     const LoadProgress& progress) {
  return {.kv_type = CpuKvTypeOf(config.kv_type),
          .max_model_len = config.max_model_len,
          .kernels = std::string(WordOf(config.kernels)),
          .threads = config.threads,
          .pack_cache = config.pack_cache,
          .kv_cache_bytes = KvCacheBytes(config, spec),
          .max_tokens_per_step = config.max_tokens_per_step.On(Device::kCpu),
          .max_rows_per_step = MaxRowsPerStep(config, Device::kCpu),
          .progress = progress};
}

// Nothing where the executor chooses.
std::optional<cuda::Element> ElementOf(ActivationType type) {
  switch (type) {
    case ActivationType::kAuto:
      return std::nullopt;
    case ActivationType::kF16:
      return cuda::Element::kF16;
    case ActivationType::kBF16:
      return cuda::Element::kBF16;
    case ActivationType::kF32:
      return cuda::Element::kF32;
  }
  return std::nullopt;
}

std::optional<cuda::KvElement> KvElementOf(KvCacheType type) {
  switch (type) {
    case KvCacheType::kAuto:
      return std::nullopt;
    case KvCacheType::kBF16:
      return cuda::KvElement::kBF16;
    case KvCacheType::kF32:
      return cuda::KvElement::kF32;
    case KvCacheType::kF16:
      return cuda::KvElement::kF16;
    case KvCacheType::kFp8:
      return cuda::KvElement::kFp8E4M3;
    case KvCacheType::kInt8:
      return cuda::KvElement::kInt8;
  }
  return std::nullopt;
}

absl::StatusOr<MadeExecutor> MakeOnCuda(const Config& config, const OpenedModel& model,
                                        const LoadProgress& progress, const CudaBackendOpener& open_backend) {
  ASSIGN_OR_RETURN(const cuda::Backend* backend, open_backend());
  const RealClock clock;
  const CudaExecutorOptions options{.element = ElementOf(config.dtype),
                                    .kv_element = KvElementOf(config.kv_type),
                                    .fp8_weights = config.weights == WeightPacking::kFp8,
                                    .max_model_len = config.max_model_len,
                                    .max_logprobs = config.request.max_logprobs,
                                    .tensor_parallel = config.tensor_parallel,
                                    .memory_fraction = config.gpu_memory_fraction,
                                    .kv_cache_bytes = config.kv_cache_mb << 20,
                                    .max_tokens_per_step = config.max_tokens_per_step.On(Device::kCuda),
                                    .max_rows_per_step = MaxRowsPerStep(config, Device::kCuda),
                                    .gemm_search = config.gemm_search == Switch::kOn,
                                    .gemm_cache = config.gemm_cache,
                                    .clock = &clock,
                                    .use_wgmma = config.wgmma == Switch::kOn,
                                    .use_bulk_copies = config.bulk_copies == Switch::kOn,
                                    .warm_up = true,
                                    .progress = progress};
  ASSIGN_OR_RETURN(auto executor, CudaExecutor::Make(model, *backend, options));
  MadeExecutor made;
  made.device = Device::kCuda;
  made.kernels = absl::StrCat("cuda: ", executor->description());
  made.products = executor->products();
  made.upload = DescribeUpload(executor->upload().bytes, executor->upload().duration);
  made.num_threads = config.tensor_parallel;
  made.fp8_weights = executor->fp8_numbers();
  made.executor = std::move(executor);
  return made;
}

// "avx512+amx": the set, and what its products use besides.
std::string NameOf(const kernels::KernelTable& table) {
  return absl::StrCat(table.name, *table.extension == 0 ? "" : "+", table.extension);
}

MadeExecutor OnCpu(std::unique_ptr<CpuExecutor> executor) {
  MadeExecutor made;
  made.kernels = NameOf(executor->decoder().table());
  made.num_threads = executor->threads();
  made.pack_cache = executor->decoder().weights().pack_cache;
  made.placement = executor->decoder().weights().placement;
  made.executor = std::move(executor);
  return made;
}

// What executors refuse by the name of their option, by that of the flag that set it.
absl::Status NamedAsFlag(const absl::Status& status) {
  for (const Setting& setting : Settings())
    if (absl::StartsWith(status.message(), absl::StrCat(setting.name, " must ")))
      return absl::Status(status.code(), absl::StrCat("--", status.message()));
  return status;
}

absl::StatusOr<MadeExecutor> MakeOnCpu(const Config& config, OpenedModel model,
                                       const LoadProgress& progress) {
  if (const int64_t memory_mb = LookAtMachine().memory_bytes >> 20; config.kv_cache_mb > memory_mb) {
    return absl::ResourceExhaustedError(absl::StrCat("--kv_cache_mb must fit into the ", memory_mb,
                                                     " MiB of memory that may be used, is ",
                                                     config.kv_cache_mb));
  }
  if (const int64_t page_bytes = PageBytes(config, model.spec);
      config.kv_cache_mb > 0 && config.kv_cache_mb << 20 < page_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("--kv_cache_mb must hold at least one page of ",
                                                   page_bytes, " bytes, is ", config.kv_cache_mb));
  }
  const CpuExecutorOptions options = ExecutorOptionsOf(config, model.spec, progress);
  absl::StatusOr<std::unique_ptr<CpuExecutor>> executor = CpuExecutor::Make(std::move(model), options);
  if (!executor.ok()) return NamedAsFlag(executor.status());
  return OnCpu(*std::move(executor));
}

}  // namespace

std::string DescribeUpload(int64_t bytes, absl::Duration duration) {
  constexpr absl::Duration kWorthALine = absl::Seconds(2);
  if (duration <= kWorthALine) return "";
  const double gigabytes = static_cast<double>(bytes) / 1e9, seconds = absl::ToDoubleSeconds(duration);
  return absl::StrFormat("%.1f GB in %.1f s, %.1f GB/s", gigabytes, seconds, gigabytes / seconds);
}

absl::StatusOr<MadeExecutor> MakeExecutor(const Config& config, OpenedModel model,
                                          const LoadProgress& progress,
                                          const CudaBackendOpener& open_backend) {
  if (config.device == Device::kCpu) return MakeOnCpu(config, std::move(model), progress);
  absl::StatusOr<MadeExecutor> on_cuda = MakeOnCuda(config, model, progress, open_backend);
  if (on_cuda.ok()) return on_cuda;
  const absl::Status refused = NamedAsFlag(on_cuda.status());
  const std::string why(refused.message());
  if (config.device == Device::kCuda)
    return absl::Status(refused.code(), absl::StrCat("--device=cuda: ", why));
  RETURN_IF_ERROR(config.ValidateWithoutGpu(why));
  ASSIGN_OR_RETURN(MadeExecutor on_cpu, MakeOnCpu(config, std::move(model), progress));
  on_cpu.warning = why;
  return on_cpu;
}

}  // namespace ropeway::server
