// The executors that one test source runs on, and requests run through the scheduler on any of them.
#ifndef ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_DEVICES_H_
#define ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_DEVICES_H_

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/api/step.h"
#include "engine/kernels/cuda/element.h"
#include "engine/model/tensor_source.h"

namespace ropeway::testing {

enum class DeviceKind {
  kCpu,              // CpuExecutor with the kernels of the specification
  kHostKernels,      // CudaExecutor on the emulated runtime, its kernels in plain loops
  kEmulatedKernels,  // CudaExecutor on the emulated runtime, the shipped kernels executed lane by lane
  kDevice,           // CudaExecutor on this machine's GPU, by libropeway_cuda.so
};

struct DeviceOptions {
  DeviceKind kind = DeviceKind::kCpu;
  cuda::Element element = cuda::Element::kF32;  // the CPU always computes in float32
  std::optional<cuda::KvElement> kv_element;    // none: as the activations
  bool fp8_weights = false;
  int tensor_parallel = 1;
  int32_t max_tokens_per_step = 64;
  int32_t num_layers = 0;  // of the model that are kept; 0: all
};

// This machine's GPU in f32, bf16 and f16; empty where there is none.
std::vector<DeviceOptions> RealDevices();
// Likewise with fp8 weights, where it can do them.
std::vector<DeviceOptions> RealDevicesOfFp8();

// For names of tests: "cpu", "host_kernels_bf16_tp2".
std::string NameOf(const DeviceOptions& options);
inline std::ostream& operator<<(std::ostream& out, const DeviceOptions& options) {
  return out << NameOf(options);
}

// The model at `path` on a device, with float32 keys and values where it computes in float32.
absl::StatusOr<std::unique_ptr<Executor>> OpenOn(const std::string& path, const DeviceOptions& options);

// What became of one sample.
struct Sampled {
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;  // sample 0
  int32_t cached_tokens = 0;                   // sample 0
  absl::Status error;
};

// Runs the requests together, arriving at once, until all ended: [request][sample].
std::vector<std::vector<Sampled>> RunAll(Executor& executor, const std::vector<ValidRequest>& requests);

// A greedy request that tells the log-probabilities of its tokens.
ValidRequest Greedy(std::vector<TokenId> prompt, int32_t max_tokens);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_EXEC_EXECUTOR_DEVICES_H_
