#include "tests/cuda_emulation/emulated_backend.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "tests/cuda_emulation/host_collective.h"
#include "tests/cuda_emulation/host_gemm.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int kDevices = 4;

thread_local EmulatedRuntime* last_device = nullptr;

int DeviceCount(const char**) { return kDevices; }

Runtime* MakeRuntime(int, const char**) { return last_device = new EmulatedRuntime(DeviceOptions()); }

Gemm* MakeGemm(Runtime&, const GemmOptions&, const char**) { return new HostGemm; }

bool MakeCollectives(int size, const int*, Collective** out, const char**) {
  for (auto& collective : MakeHostCollectives(size)) *out++ = collective.release();
  return true;
}

}  // namespace

RuntimeOptions& DeviceOptions() {
  thread_local RuntimeOptions options;
  return options;
}

EmulatedRuntime* LastDevice() { return last_device; }

const Backend& EmulatedBackend(const KernelTable& kernels, const Fp8KernelTable& fp8_kernels) {
  using Tables = std::pair<const KernelTable*, const Fp8KernelTable*>;
  thread_local std::map<Tables, std::unique_ptr<Backend>> backends;
  std::unique_ptr<Backend>& backend = backends[{&kernels, &fp8_kernels}];
  if (backend == nullptr) {
    backend = std::make_unique<Backend>(Backend{.version = kBackendVersion,
                                                .device_count = DeviceCount,
                                                .make_runtime = MakeRuntime,
                                                .make_gemm = MakeGemm,
                                                .make_collectives = MakeCollectives,
                                                .kernels = &kernels,
                                                .fp8_kernels = &fp8_kernels});
  }
  return *backend;
}

}  // namespace ropeway::cuda::emulation
