// The device on which kernel tests run: emulated, or real, depending on what is linked.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_TEST_RUNTIME_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_TEST_RUNTIME_H_

#include <memory>
#include <string>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

enum class TestDevice { kAny, kWithWarpgroups };

// Null, with the reason, where there is no such device.
std::unique_ptr<Runtime> MakeTestRuntime(TestDevice device, std::string* error);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_TEST_RUNTIME_H_
