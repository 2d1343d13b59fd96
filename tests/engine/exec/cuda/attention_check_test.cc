// Attention by warpgroups is used where it gives the bytes of mma.sync, and nowhere else.
#include "engine/exec/cuda/attention_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/exec/cuda/executor.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/executor_devices.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr cuda::ErrorCode kNoKernelImage = 209;  // cudaErrorNoKernelImageForDevice

cuda::ErrorCode AttendOtherwise(const cuda::AttentionArgs& args, cuda::Stream stream) {
  cuda::AttentionArgs other = args;
  if (args.warpgroups) other.scale *= 1.01f;
  return cuda::emulation::HostKernels().attention(other, stream);
}

// Otherwise with a window alone.
cuda::ErrorCode AttendWindowsOtherwise(const cuda::AttentionArgs& args, cuda::Stream stream) {
  cuda::AttentionArgs other = args;
  if (args.warpgroups && args.modifier.window > 0) other.modifier.window += 1;
  return cuda::emulation::HostKernels().attention(other, stream);
}

cuda::ErrorCode AttendWithoutWarpgroups(const cuda::AttentionArgs& args, cuda::Stream stream) {
  return args.warpgroups ? kNoKernelImage : cuda::emulation::HostKernels().attention(args, stream);
}

cuda::ErrorCode LoseTheDevice(const cuda::AttentionArgs& args, cuda::Stream stream) {
  return args.warpgroups ? cuda::emulation::kKernelFailed
                         : cuda::emulation::HostKernels().attention(args, stream);
}

class AttentionCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(runtime_.Bind(), 0);
    ASSERT_EQ(runtime_.CreateStream(&stream_), 0);
  }
  void TearDown() override {
    runtime_.DestroyStream(stream_);
    cuda::emulation::DeviceOptions() = {};
  }

  // Of a check that does not fail.
  bool Keeps(decltype(cuda::KernelTable::attention) attention) {
    const absl::StatusOr<bool> keeps = Check(attention);
    EXPECT_TRUE(keeps.ok()) << keeps.status();
    return keeps.value_or(false);
  }
  absl::StatusOr<bool> Check(decltype(cuda::KernelTable::attention) attention) {
    kernels_.attention = attention;
    const cuda::AttentionShape shape{
        .num_heads = 6, .num_kv_heads = 2, .head_dim = 24, .value_dim = 24, .warpgroups = true};
    return WarpgroupsKeepBytes(shape, kernels_, runtime_, stream_);
  }

  cuda::emulation::EmulatedRuntime runtime_;
  cuda::Stream stream_;
  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
};

TEST_F(AttentionCheckTest, TakesWhatHasTheSameBytes) {
  EXPECT_TRUE(Keeps(cuda::emulation::HostKernels().attention));
}

TEST_F(AttentionCheckTest, RefusesOtherBytes) {
  EXPECT_FALSE(Keeps(AttendOtherwise));
  EXPECT_FALSE(Keeps(AttendWindowsOtherwise));
}

TEST_F(AttentionCheckTest, GoesOnWhereTheDeviceHasNoSuchKernel) {
  ASSERT_OK_AND_ASSIGN(const bool keeps, Check(AttendWithoutWarpgroups));
  EXPECT_FALSE(keeps);
}

TEST_F(AttentionCheckTest, ALostDeviceIsAnError) {
  EXPECT_THAT(Check(LoseTheDevice).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("--wgmma=off")));
}

// The executor says which it took.
TEST_F(AttentionCheckTest, TheExecutorTells) {
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("qwen3", folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  const auto products = [&](decltype(cuda::KernelTable::attention) attention) {
    kernels_.attention = attention;
    const auto executor = CudaExecutor::Make(
        model, cuda::emulation::EmulatedBackend(kernels_),
        {.element = cuda::Element::kBF16, .max_tokens_per_step = 64, .max_rows_per_step = 8});
    EXPECT_TRUE(executor.ok()) << executor.status();
    return executor.ok() ? (*executor)->products() : std::vector<std::string>();
  };
  const auto same = cuda::emulation::HostKernels().attention;
  EXPECT_THAT(products(same), Not(Contains(HasSubstr("attention"))));
  cuda::emulation::DeviceOptions().major = 9;
  EXPECT_THAT(products(same), Contains(HasSubstr("attention of prompts: wgmma")));
  EXPECT_THAT(products(AttendOtherwise), Contains(HasSubstr("attention of prompts: mma.sync, since")));
  cuda::emulation::DeviceOptions().major = 10;
  EXPECT_THAT(products(same), Not(Contains(HasSubstr("attention"))));
}

}  // namespace
}  // namespace ropeway::testing
