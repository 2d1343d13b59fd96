// The executor that a Config asks for: on the CPU, or on GPUs.
#ifndef ROPEWAY_SERVER_MAKE_EXECUTOR_H_
#define ROPEWAY_SERVER_MAKE_EXECUTOR_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/api/step.h"
#include "engine/exec/cpu/pack_cache.h"
#include "engine/exec/cuda/backend.h"
#include "engine/model/load_decoder.h"
#include "engine/model/tensor_source.h"
#include "server/config/config.h"

namespace ropeway::server {

struct MadeExecutor {
  std::unique_ptr<Executor> executor;
  Device device = Device::kCpu;       // where it computes
  std::string kernels;                // the set that computes: "avx512+amx", "cuda: NVIDIA L4, bf16"
  std::vector<std::string> products;  // how a GPU's matrices are multiplied, a line for each shape
  int32_t num_threads = 0;            // that compute
  int64_t fp8_weights = 0;            // how many are held as fp8
  std::string warning;                // why it computes on the CPU, where a GPU was looked for; else empty
  PackCacheOutcome pack_cache;        // of a CPU; its path is empty where there is none
  std::string placement;              // of a CPU's weights on NUMA nodes; empty where there is one
  std::string upload;                 // of weights to GPUs, by DescribeUpload
};

// "13.1 GB in 4.0 s, 3.3 GB/s"; empty where it took two seconds at most.
std::string DescribeUpload(int64_t bytes, absl::Duration duration);

// Tests open backends of their own.
using CudaBackendOpener = std::function<absl::StatusOr<const cuda::Backend*>()>;

// With device "auto", what keeps the model from running on a GPU is a warning, and it runs on the CPU; with
// "cuda" it is an error.
absl::StatusOr<MadeExecutor> MakeExecutor(
    const Config& config, OpenedModel model, const LoadProgress& progress = {},
    const CudaBackendOpener& open_backend = [] { return OpenCudaBackend(); });

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_MAKE_EXECUTOR_H_
