// The emulated backend as a library in the place of libropeway_cuda.so, for tests of whole programs.
//
// With ROPEWAY_EMULATED_STEPS=n in the environment the device is lost in the n-th step that samples; with
// ROPEWAY_EMULATED_MIB=n it has so many MiB of memory.
#include <cstdlib>

#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"

namespace ropeway::cuda::emulation {
namespace {

// One device is used, by one thread.
struct Plan {
  EmulatedRuntime* device = nullptr;
  int steps_left = 0;  // 0: no end
};

Plan& ThePlan() {
  static Plan plan;
  return plan;
}

Runtime* MakeRuntime(int device, const char** error) {
  const char* steps = std::getenv("ROPEWAY_EMULATED_STEPS");
  // As a device for which all kernels are.
  DeviceOptions().major = 9;
  if (const char* mib = std::getenv("ROPEWAY_EMULATED_MIB"))
    DeviceOptions().memory_bytes = static_cast<size_t>(std::atoi(mib)) << 20;
  Runtime* runtime = EmulatedBackend(HostKernels()).make_runtime(device, error);
  ThePlan() = {LastDevice(), steps == nullptr ? 0 : std::atoi(steps)};
  return runtime;
}

ErrorCode Sample(const SampleArgs& args, Stream stream) {
  Plan& plan = ThePlan();
  if (plan.steps_left > 0 && --plan.steps_left == 0) plan.device->InjectError(kKernelFailed, 0);
  return HostKernels().sample(args, stream);
}

}  // namespace
}  // namespace ropeway::cuda::emulation

extern "C" __attribute__((visibility("default"))) const ropeway::cuda::Backend* ropeway_cuda_backend() {
  using namespace ropeway::cuda::emulation;
  static ropeway::cuda::KernelTable kernels = HostKernels();
  kernels.sample = Sample;
  static ropeway::cuda::Backend backend = EmulatedBackend(HostKernels());
  backend.make_runtime = MakeRuntime;
  backend.kernels = &kernels;
  return &backend;
}
