#include "tests/engine/exec/executor_devices.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/backend.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/sched/scheduler.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"

namespace ropeway::testing {
namespace {

constexpr int64_t kKvCacheBytes = 32 << 20;
constexpr int32_t kMaxRows = 16;

absl::StatusOr<std::unique_ptr<Executor>> OpenOnCpu(OpenedModel model, const DeviceOptions& options) {
  return CpuExecutor::Make(std::move(model), {.kv_type = kernels::KvType::kF32,
                                              .kernels = "ref",
                                              .threads = 1,
                                              .kv_cache_bytes = kKvCacheBytes,
                                              .max_tokens_per_step = options.max_tokens_per_step,
                                              .max_rows_per_step = kMaxRows});
}

absl::StatusOr<const cuda::Backend*> BackendOf(DeviceKind kind) {
  if (kind == DeviceKind::kDevice) return OpenCudaBackend();
  return &cuda::emulation::EmulatedBackend(kind == DeviceKind::kHostKernels ? cuda::emulation::HostKernels()
                                                                            : cuda::Kernels());
}

// The first GPU of this machine; none where there is none.
std::optional<cuda::DeviceInfo> RealDevice() {
  const absl::StatusOr<const cuda::Backend*> backend = OpenCudaBackend();
  const char* error = nullptr;
  if (!backend.ok() || (*backend)->device_count(&error) == 0) return std::nullopt;
  const std::unique_ptr<cuda::Runtime> runtime((*backend)->make_runtime(0, &error));
  cuda::DeviceInfo info;
  if (runtime == nullptr || runtime->Bind() != 0 || runtime->Info(&info) != 0) return std::nullopt;
  return info;
}

const char* KindName(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kHostKernels:
      return "host_kernels";
    case DeviceKind::kEmulatedKernels:
      return "emulated_kernels";
    case DeviceKind::kDevice:
      return "device";
  }
  return "";
}

// Keeps as many steps in flight as the executor takes.
void RunStep(Executor& executor, Scheduler& scheduler, absl::Time now) {
  const int32_t most = executor.limits().max_steps_in_flight;
  const StepPlan plan = scheduler.Plan(now);
  if (!plan.empty()) executor.Submit(plan);
  if (scheduler.num_steps_in_flight() == most || (plan.empty() && scheduler.num_steps_in_flight() > 0))
    scheduler.Commit(executor.Collect(), now);
}

}  // namespace

std::vector<DeviceOptions> RealDevices() {
  std::vector<DeviceOptions> devices;
  if (!RealDevice().has_value()) return devices;
  for (const cuda::Element element : {cuda::Element::kF32, cuda::Element::kBF16, cuda::Element::kF16})
    devices.push_back({.kind = DeviceKind::kDevice, .element = element});
  return devices;
}

std::vector<DeviceOptions> RealDevicesOfFp8() {
  const std::optional<cuda::DeviceInfo> device = RealDevice();
  if (!device.has_value() || !cuda::HasFp8(device->major, device->minor)) return {};
  return {{.kind = DeviceKind::kDevice, .element = cuda::Element::kBF16, .fp8_weights = true}};
}

std::string NameOf(const DeviceOptions& options) {
  if (options.kind == DeviceKind::kCpu) return KindName(options.kind);
  return absl::StrCat(KindName(options.kind),
                      options.element == cuda::Element::kF32   ? "_f32"
                      : options.element == cuda::Element::kF16 ? "_f16"
                                                               : "_bf16",
                      options.kv_element == cuda::KvElement::kInt8      ? "_int8_kv"
                      : options.kv_element == cuda::KvElement::kFp8E4M3 ? "_fp8_kv"
                                                                        : "",
                      options.fp8_weights ? "_fp8_weights" : "",
                      options.tensor_parallel > 1 ? absl::StrCat("_tp", options.tensor_parallel) : "");
}

absl::StatusOr<std::unique_ptr<Executor>> OpenOn(const std::string& path, const DeviceOptions& options) {
  ASSIGN_OR_RETURN(OpenedModel model, OpenModel(path));
  if (options.num_layers > 0) model.spec.layers.resize(options.num_layers);
  if (options.kind == DeviceKind::kCpu) return OpenOnCpu(std::move(model), options);
  ASSIGN_OR_RETURN(const cuda::Backend* backend, BackendOf(options.kind));
  const RealClock clock;
  return CudaExecutor::Make(model, *backend,
                            {.element = options.element,
                             .kv_element = options.kv_element,
                             .fp8_weights = options.fp8_weights,
                             .tensor_parallel = options.tensor_parallel,
                             .kv_cache_bytes = kKvCacheBytes,
                             .max_tokens_per_step = options.max_tokens_per_step,
                             .max_rows_per_step = kMaxRows,
                             // The emulation's times tell nothing.
                             .clock = options.kind == DeviceKind::kDevice ? &clock : nullptr});
}

std::vector<std::vector<Sampled>> RunAll(Executor& executor, const std::vector<ValidRequest>& requests) {
  Scheduler scheduler({}, executor.limits());
  std::map<RequestId, size_t> places;
  std::vector<std::vector<Sampled>> results;
  for (size_t i = 0; i < requests.size(); ++i) {
    ValidRequest request = requests[i];
    request.id = i + 1;
    results.emplace_back(request.num_samples);
    ROPEWAY_CHECK(scheduler.Add(std::move(request), absl::UnixEpoch()).ok());
  }
  absl::Time now = absl::UnixEpoch();
  while (!scheduler.empty() || scheduler.num_steps_in_flight() > 0) {
    now += absl::Milliseconds(1);
    RunStep(executor, scheduler, now);
    scheduler.CheckInvariants();
    for (TokenEvent& event : scheduler.TakeEvents()) {
      Sampled& sampled = results[event.request_id - 1][event.sample];
      if (event.token != kNoToken) sampled.tokens.push_back(event.token);
      if (event.logprobs.has_value()) sampled.logprobs.push_back(*std::move(event.logprobs));
      if (!event.prompt_logprobs.empty()) sampled.prompt_logprobs = std::move(event.prompt_logprobs);
      if (!event.error.ok()) sampled.error = event.error;
      if (event.request_done) results[event.request_id - 1][0].cached_tokens = event.receipt.cached_tokens;
    }
  }
  return results;
}

ValidRequest Greedy(std::vector<TokenId> prompt, int32_t max_tokens) {
  ValidRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.num_logprobs = 2;
  request.max_tokens = max_tokens;
  return request;
}

}  // namespace ropeway::testing
