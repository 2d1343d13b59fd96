// Products of fp8 by warpgroups are used where they give the bytes of mma.sync, and nowhere else.
#include "engine/exec/cuda/fp8_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/exec/cuda/executor.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/cuda/kernel_check_test.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

using MatMul = decltype(cuda::Fp8KernelTable::matmul);

// One token has the bytes of another.
cuda::ErrorCode MultiplyOtherwise(const cuda::Fp8MatMulArgs& args, cuda::Stream stream) {
  cuda::Fp8MatMulArgs other = args;
  if (args.warpgroups) other.x.scales += 1, other.num_tokens -= 1;
  return cuda::emulation::HostFp8Kernels().matmul(other, stream);
}

cuda::ErrorCode MultiplyWithoutWarpgroups(const cuda::Fp8MatMulArgs& args, cuda::Stream stream) {
  return args.warpgroups ? kNoKernelImage : cuda::emulation::HostFp8Kernels().matmul(args, stream);
}

cuda::ErrorCode LoseTheDevice(const cuda::Fp8MatMulArgs& args, cuda::Stream stream) {
  return args.warpgroups ? cuda::emulation::kKernelFailed
                         : cuda::emulation::HostFp8Kernels().matmul(args, stream);
}

class Fp8CheckTest : public KernelCheckTest {
 protected:
  absl::StatusOr<bool> Check(MatMul matmul) {
    kernels_.matmul = matmul;
    return Fp8WarpgroupsKeepBytes(cuda::Element::kBF16, kernels_, runtime_, stream_);
  }

  cuda::Fp8KernelTable kernels_ = cuda::emulation::HostFp8Kernels();
};

TEST_F(Fp8CheckTest, TakesWhatHasTheSameBytesAlone) {
  ASSERT_OK_AND_ASSIGN(const bool same, Check(cuda::emulation::HostFp8Kernels().matmul));
  EXPECT_TRUE(same);
  ASSERT_OK_AND_ASSIGN(const bool other, Check(MultiplyOtherwise));
  EXPECT_FALSE(other);
}

TEST_F(Fp8CheckTest, GoesOnWhereTheDeviceHasNoSuchKernel) {
  ASSERT_OK_AND_ASSIGN(const bool keeps, Check(MultiplyWithoutWarpgroups));
  EXPECT_FALSE(keeps);
}

TEST_F(Fp8CheckTest, ALostDeviceIsAnError) {
  EXPECT_THAT(Check(LoseTheDevice).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("--wgmma=off")));
}

// The executor says which it took.
TEST_F(Fp8CheckTest, TheExecutorTells) {
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("qwen3", folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  const auto products = [&](MatMul matmul, int max_tokens = 160) {
    kernels_.matmul = matmul;
    const auto executor =
        CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels(), kernels_),
                           {.element = cuda::Element::kBF16,
                            .fp8_weights = true,
                            .max_tokens_per_step = max_tokens,
                            .max_rows_per_step = 8});
    EXPECT_TRUE(executor.ok()) << executor.status();
    return executor.ok() ? (*executor)->products() : std::vector<std::string>();
  };
  const MatMul same = cuda::emulation::HostFp8Kernels().matmul;
  cuda::emulation::DeviceOptions().minor = 9;
  EXPECT_THAT(products(same), Not(Contains(HasSubstr("fp8"))));
  cuda::emulation::DeviceOptions() = {.major = 9, .minor = 0};
  EXPECT_THAT(products(same), Contains(HasSubstr("products of prompts by fp8: wgmma")));
  EXPECT_THAT(products(MultiplyOtherwise),
              Contains(HasSubstr("products of prompts by fp8: mma.sync, since")));
  EXPECT_THAT(products(same, /*max_tokens=*/64), Not(Contains(HasSubstr("fp8"))))
      << "no step has as many tokens";
}

}  // namespace
}  // namespace ropeway::testing
