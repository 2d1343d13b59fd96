// libropeway_cuda.so as it was built: it opens without a driver, and says why no device can be used.
#include <cstring>
#include <memory>

#include "engine/exec/cuda/backend.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

TEST(CudaPluginTest, OpensAndTellsOfDevices) {
  ASSERT_OK_AND_ASSIGN(const cuda::Backend* backend, OpenCudaBackend({ROPEWAY_CUDA_LIBRARY}));
  ASSERT_NE(backend->kernels, nullptr);
  EXPECT_NE(backend->kernels->attention, nullptr);
  const char* error = nullptr;
  if (backend->device_count(&error) > 0) {
    const std::unique_ptr<cuda::Runtime> runtime(backend->make_runtime(0, &error));
    EXPECT_NE(runtime, nullptr) << error;
    return;
  }
  ASSERT_NE(error, nullptr);
  EXPECT_GT(std::strlen(error), 10u);
  EXPECT_EQ(backend->make_runtime(0, &error), nullptr);
  const int devices[] = {0, 1};
  cuda::Collective* collectives[2];
  error = nullptr;
  EXPECT_FALSE(backend->make_collectives(2, devices, collectives, &error));
  ASSERT_NE(error, nullptr);
  EXPECT_GT(std::strlen(error), 10u);
}

}  // namespace
}  // namespace ropeway::testing
