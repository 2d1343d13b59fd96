#include "tests/cuda_emulation/emulated_backend.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/cuda_emulation/host_collective.h"
#include "tests/cuda_emulation/host_gemm.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int kDevices = 4;
constexpr ErrorCode kNotReady = 600;  // CUDA's value

thread_local EmulatedRuntime* last_device = nullptr;

int DeviceCount(const char**) { return kDevices; }

Runtime* MakeRuntime(int, const char**) { return last_device = new EmulatedRuntime(DeviceOptions()); }

Gemm* MakeGemm(Runtime&, const GemmOptions&, const char**) { return new HostGemm; }

bool MakeCollectives(int size, const int*, Collective** out, const char**) {
  for (auto& collective : MakeHostCollectives(size)) *out++ = collective.release();
  return true;
}

// Of the host's clock, when the stream runs what was marked. A graph has no marks.
class HostClock final : public StreamClock {
 public:
  ErrorCode Mark(int mark, Stream stream) override {
    std::shared_ptr<absl::Time>& passed_at = passed_at_[mark];
    passed_at = std::make_shared<absl::Time>(absl::InfiniteFuture());
    return EnqueueOnHost(stream, [passed_at] { *passed_at = absl::Now(); });
  }

  ErrorCode Elapsed(int from, int to, float* milliseconds) override {
    if (passed_at_[from] == nullptr || passed_at_[to] == nullptr) return kInvalidHandle;
    if (*passed_at_[from] == absl::InfiniteFuture() || *passed_at_[to] == absl::InfiniteFuture())
      return kNotReady;
    *milliseconds = static_cast<float>(absl::ToDoubleMilliseconds(*passed_at_[to] - *passed_at_[from]));
    return kSuccess;
  }

 private:
  std::map<int, std::shared_ptr<absl::Time>> passed_at_;  // by mark, of its last setting alone
};

StreamClock* MakeHostClock() { return new HostClock; }

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
                                                .make_stream_clock = MakeHostClock,
                                                .kernels = &kernels,
                                                .fp8_kernels = &fp8_kernels});
  }
  return *backend;
}

}  // namespace ropeway::cuda::emulation
