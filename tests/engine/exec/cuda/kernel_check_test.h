// What tests of the checks of kernels share: an emulated device, and what it says of a kernel that it lacks.
#ifndef ROPEWAY_TESTS_ENGINE_EXEC_CUDA_KERNEL_CHECK_TEST_H_
#define ROPEWAY_TESTS_ENGINE_EXEC_CUDA_KERNEL_CHECK_TEST_H_

#include <gtest/gtest.h>

#include "engine/kernels/cuda/runtime.h"
#include "tests/cuda_emulation/emulated_runtime.h"

namespace ropeway::testing {

inline constexpr cuda::ErrorCode kNoKernelImage = 209;  // cudaErrorNoKernelImageForDevice

class KernelCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(runtime_.Bind(), 0);
    ASSERT_EQ(runtime_.CreateStream(&stream_), 0);
  }
  void TearDown() override {
    runtime_.DestroyStream(stream_);
    cuda::emulation::DeviceOptions() = {};
  }

  cuda::emulation::EmulatedRuntime runtime_{{.major = 9}};
  cuda::Stream stream_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_EXEC_CUDA_KERNEL_CHECK_TEST_H_
