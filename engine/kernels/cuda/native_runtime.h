// The real runtime, made. Plain C++; defined in libropeway_cuda.so.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_NATIVE_RUNTIME_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_NATIVE_RUNTIME_H_

#include <memory>
#include <string>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// 0, with the reason, where there is no driver, one too old, or no device.
int CountDevices(std::string* error);

// Null, with the reason, where there is no such device or it is too old for the kernels.
std::unique_ptr<Runtime> MakeCudaRuntime(int device, std::string* error);

// "cudaErrorMemoryAllocation: out of memory".
std::string DescribeError(ErrorCode code);

// Whether every call of the process fails from now on: the context is lost (CUDA runtime API, "Error Handling").
bool IsFatalError(ErrorCode code);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_NATIVE_RUNTIME_H_
