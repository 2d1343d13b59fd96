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
#include "tests/engine/exec/cuda/kernel_check_test.h"
#include "tests/engine/exec/executor_devices.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

cuda::ErrorCode AttendOtherwise(const cuda::AttentionArgs& args, cuda::Stream stream) {
  cuda::AttentionArgs other = args;
  if (args.maps != nullptr) other.scale *= 1.01f;
  return cuda::emulation::HostKernels().attention(other, stream);
}

// Otherwise with a window alone.
cuda::ErrorCode AttendWindowsOtherwise(const cuda::AttentionArgs& args, cuda::Stream stream) {
  cuda::AttentionArgs other = args;
  if (args.maps != nullptr && args.modifier.window > 0) other.modifier.window += 1;
  return cuda::emulation::HostKernels().attention(other, stream);
}

// Otherwise decoded tokens alone.
cuda::ErrorCode DecodeOtherwise(const cuda::AttentionArgs& args, cuda::Stream stream) {
  cuda::AttentionArgs other = args;
  if (args.maps != nullptr && args.narrow.blocks > 0) other.scale *= 1.01f;
  return cuda::emulation::HostKernels().attention(other, stream);
}

cuda::ErrorCode AttendWithoutWarpgroups(const cuda::AttentionArgs& args, cuda::Stream stream) {
  return args.maps != nullptr ? kNoKernelImage : cuda::emulation::HostKernels().attention(args, stream);
}

cuda::ErrorCode LoseTheDevice(const cuda::AttentionArgs& args, cuda::Stream stream) {
  return args.maps != nullptr ? cuda::emulation::kKernelFailed
                              : cuda::emulation::HostKernels().attention(args, stream);
}

constexpr cuda::AttentionShape kShape{
    .num_heads = 6, .num_kv_heads = 2, .head_dim = 24, .value_dim = 24, .warpgroups = true};

class AttentionCheckTest : public KernelCheckTest {
 protected:
  absl::StatusOr<std::string> Check(decltype(cuda::KernelTable::attention) attention) {
    kernels_.attention = attention;
    return WhyNoWarpgroups(kShape, element_, kernels_, runtime_, stream_);
  }
  // Of a check that does not fail.
  std::string Why(decltype(cuda::KernelTable::attention) attention) {
    const absl::StatusOr<std::string> why = Check(attention);
    EXPECT_OK(why);
    return why.value_or("a failure");
  }

  cuda::Element element_ = cuda::Element::kBF16;
  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
};

TEST_F(AttentionCheckTest, TakesWhatHasTheSameBytes) {
  for (const cuda::Element element : {cuda::Element::kBF16, cuda::Element::kF16}) {
    element_ = element;
    EXPECT_THAT(Why(cuda::emulation::HostKernels().attention), IsEmpty());
  }
}

TEST_F(AttentionCheckTest, RefusesOtherBytes) {
  EXPECT_EQ(Why(AttendOtherwise), "wgmma gives other bytes");
  EXPECT_EQ(Why(AttendWindowsOtherwise), "wgmma gives other bytes");
  EXPECT_EQ(Why(DecodeOtherwise), "wgmma gives other bytes");
}

TEST_F(AttentionCheckTest, GoesOnWhereTheDeviceHasNoSuchKernel) {
  EXPECT_THAT(Why(AttendWithoutWarpgroups), HasSubstr("does not take wgmma's kernel"));
}

// Prompts and what follows them, on the shipped kernels: each layer's keys and values by its own map, and weights by bulk
// copies.
TEST_F(AttentionCheckTest, RequestsHaveTheBytesOfMma) {
  if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("qwen3", folder.path()).ok());
  std::vector<ValidRequest> requests;
  for (const int length : {70, 20, 33}) {
    std::vector<TokenId> prompt(length);
    for (int i = 0; i < length; ++i) prompt[i] = 1 + (7 * i + length) % 40;
    requests.push_back(Greedy(prompt, 3));
  }
  const auto run = [&](int major) {
    cuda::emulation::DeviceOptions().major = major;
    cuda::emulation::DeviceOptions().shared_bytes_max = cuda::kMostWarpgroupSharedBytes;
    const auto executor =
        OpenOn(folder.path(), {.kind = DeviceKind::kEmulatedKernels, .element = cuda::Element::kBF16});
    EXPECT_OK(executor);
    if (!executor.ok()) return std::vector<std::vector<Sampled>>();
    EXPECT_EQ(static_cast<const CudaExecutor&>(**executor).products().size(), major == 9 ? 2 : 0)
        << "attention, and products for few tokens";
    return RunAll(**executor, requests);
  };
  const auto expected = run(8), got = run(9);
  ASSERT_EQ(got.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(got[i][0].tokens, expected[i][0].tokens);
    ASSERT_EQ(got[i][0].logprobs.size(), 3u);
    for (int token = 0; token < 3; ++token)
      EXPECT_EQ(got[i][0].logprobs[token].top, expected[i][0].logprobs[token].top);
  }
}

TEST(AttentionMapsTest, TheKernelIsNotAskedWhereTheDriverMakesNoMaps) {
  cuda::emulation::EmulatedRuntime runtime({.major = 9, .tensor_maps = false});
  cuda::Stream stream;
  ASSERT_EQ(runtime.Bind(), 0);
  ASSERT_EQ(runtime.CreateStream(&stream), 0);
  cuda::KernelTable kernels = cuda::emulation::HostKernels();
  kernels.attention = LoseTheDevice;
  ASSERT_OK_AND_ASSIGN(const std::string why,
                       WhyNoWarpgroups(kShape, cuda::Element::kBF16, kernels, runtime, stream));
  EXPECT_THAT(why, HasSubstr("maps no keys and values: cudaErrorNotSupported"));
  runtime.DestroyStream(stream);
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
  EXPECT_THAT(products(AttendWithoutWarpgroups),
              Contains(HasSubstr("mma.sync, since the device does not take")));
  cuda::emulation::DeviceOptions().tensor_maps = false;
  EXPECT_THAT(products(LoseTheDevice),
              Contains(HasSubstr("mma.sync, since the driver maps no keys and values")));
  cuda::emulation::DeviceOptions().major = 10;
  EXPECT_THAT(products(same), Not(Contains(HasSubstr("attention"))));
}

}  // namespace
}  // namespace ropeway::testing
