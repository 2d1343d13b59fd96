// The one symbol of libropeway_cuda.so.
#include "engine/kernels/cuda/backend.h"

#include <string>

#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "engine/kernels/cuda/native_runtime.h"
#include "engine/kernels/cuda/nccl_collective.h"

namespace ropeway::cuda {
namespace {

// Where a failed call's reason lies until the next one of the thread.
std::string& Reason() {
  thread_local std::string reason;
  return reason;
}

int DeviceCount(const char** error) {
  const int count = CountDevices(&Reason());
  if (count == 0) *error = Reason().c_str();
  return count;
}

Runtime* MakeRuntime(int device, const char** error) {
  std::unique_ptr<Runtime> runtime = MakeCudaRuntime(device, &Reason());
  if (runtime == nullptr) *error = Reason().c_str();
  return runtime.release();
}

Gemm* MakeGemm(Runtime& runtime, const GemmOptions& options, const char** error) {
  if (const ErrorCode code = runtime.Bind(); code != 0) {
    Reason() = runtime.Describe(code);
    *error = Reason().c_str();
    return nullptr;
  }
  return MakeCublasLtGemm(options, Kernels().dense_matmul, error);
}

bool MakeCollectives(int size, const int* devices, Collective** out, const char** error) {
  if (MakeNcclCollectives(size, devices, out, &Reason())) return true;
  *error = Reason().c_str();
  return false;
}

}  // namespace
}  // namespace ropeway::cuda

extern "C" __attribute__((visibility("default"))) const ropeway::cuda::Backend* ropeway_cuda_backend() {
  static const ropeway::cuda::Backend backend = {.version = ropeway::cuda::kBackendVersion,
                                                 .device_count = ropeway::cuda::DeviceCount,
                                                 .make_runtime = ropeway::cuda::MakeRuntime,
                                                 .make_gemm = ropeway::cuda::MakeGemm,
                                                 .make_collectives = ropeway::cuda::MakeCollectives,
                                                 .make_stream_clock = ropeway::cuda::MakeStreamClock,
                                                 .kernels = &ropeway::cuda::Kernels(),
                                                 .fp8_kernels = &ropeway::cuda::Fp8Kernels()};
  return &backend;
}
