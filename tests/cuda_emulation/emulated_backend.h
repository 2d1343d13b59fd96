// A cuda::Backend without CUDA: emulated devices, host matrix products, host sums over ranks.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_

#include <functional>

#include "engine/kernels/cuda/backend.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_kernels.h"

namespace ropeway::cuda::emulation {

// Kernels to run: those of ops.h as they ship (Kernels()), or HostKernels(). Likewise those of fp8.h.
const Backend& EmulatedBackend(const KernelTable& kernels,
                               const Fp8KernelTable& fp8_kernels = HostFp8Kernels());

// For tests: how devices are made from now on by this thread, and what the last one was.
RuntimeOptions& DeviceOptions();
EmulatedRuntime* LastDevice();

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BACKEND_H_
