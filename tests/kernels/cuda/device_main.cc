// Runs the kernel tests on a real device; exits 77 where there is none.
#include <cstdio>
#include <string>

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/native_runtime.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/test_runtime.h"

namespace ropeway::cuda {

std::unique_ptr<Runtime> MakeTestRuntime(TestDevice device, std::string* error) {
  std::unique_ptr<Runtime> runtime = MakeCudaRuntime(0, error);
  DeviceInfo info;
  if (runtime == nullptr || device == TestDevice::kAny) return runtime;
  if (runtime->Bind() == 0 && runtime->Info(&info) == 0 && HasWarpgroups(info)) return runtime;
  *error = "compute capability 9.0 alone has warpgroups";
  return nullptr;
}

}  // namespace ropeway::cuda

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  testing::InitGoogleTest(&argc, argv);
  std::string error;
  const auto runtime = ropeway::cuda::MakeTestRuntime(ropeway::cuda::TestDevice::kAny, &error);
  if (runtime == nullptr) {
    std::printf("SKIPPED: no kernel was run on a device: %s\n", error.c_str());
    return kSkipped;
  }
  ropeway::cuda::DeviceInfo info;
  if (runtime->Bind() == 0 && runtime->Info(&info) == 0) std::printf("on %s\n", info.name.c_str());
  return RUN_ALL_TESTS();
}
