// Warpgroups multiply where those give the bytes of mma.sync, and nowhere else.
#include "engine/exec/cuda/product_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/cuda/kernel_check_test.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

using cuda::emulation::HostKernels;
using MatMul = decltype(cuda::KernelTable::packed_matmul);

cuda::ErrorCode OnHost(const cuda::MatMulArgs& args, cuda::Stream stream) {
  return cuda::IsPacked(args.weights.type) ? HostKernels().packed_matmul(args, stream)
                                           : HostKernels().dense_matmul(args, stream);
}

// The last token has no products.
cuda::ErrorCode MultiplyOtherwise(const cuda::MatMulArgs& args, cuda::Stream stream) {
  cuda::MatMulArgs other = args;
  if (args.warpgroups) --other.num_tokens;
  return OnHost(other, stream);
}

// By other tokens: what differs is seen where sums are not all zeros.
cuda::ErrorCode MultiplyOthers(const cuda::MatMulArgs& args, cuda::Stream stream) {
  cuda::MatMulArgs other = args;
  if (args.warpgroups) other.x = static_cast<const uint16_t*>(args.x) + args.weights.columns;
  return OnHost(other, stream);
}

cuda::ErrorCode MultiplyWithoutWarpgroups(const cuda::MatMulArgs& args, cuda::Stream stream) {
  return args.warpgroups ? kNoKernelImage : OnHost(args, stream);
}

cuda::ErrorCode LoseTheDevice(const cuda::MatMulArgs& args, cuda::Stream stream) {
  return args.warpgroups ? cuda::emulation::kKernelFailed : OnHost(args, stream);
}

constexpr cuda::Element kElements[] = {cuda::Element::kF16, cuda::Element::kBF16};

std::vector<DType> TypesOf(cuda::Element element) {
  return {cuda::DenseType(element),
          DType::kQ4_0,
          DType::kQ4_1,
          DType::kQ8_0,
          DType::kQ4_K,
          DType::kQ6_K,
          DType::kMXFP4};
}

class ProductCheckTest : public KernelCheckTest {
 protected:
  absl::StatusOr<std::string> Check(MatMul matmul, cuda::Element element, const std::vector<DType>& types) {
    kernels_.packed_matmul = kernels_.dense_matmul = matmul;
    return WhyNoProductsByWarpgroups(element, types, kernels_, runtime_, stream_);
  }

  cuda::KernelTable kernels_ = HostKernels();
};

TEST_F(ProductCheckTest, TakesWhatHasTheSameBytesAlone) {
  for (const cuda::Element element : kElements) {
    ASSERT_OK_AND_ASSIGN(const std::string same, Check(OnHost, element, TypesOf(element)));
    EXPECT_EQ(same, "");
    for (const MatMul matmul : {MultiplyOtherwise, MultiplyOthers})
      for (const DType type : TypesOf(element)) {
        ASSERT_OK_AND_ASSIGN(const std::string why, Check(matmul, element, {type}));
        EXPECT_EQ(why, absl::StrCat("wgmma gives other bytes with ", InfoOf(type).name));
      }
  }
}

TEST_F(ProductCheckTest, GoesOnWhereTheDeviceHasNoSuchKernel) {
  ASSERT_OK_AND_ASSIGN(const std::string why,
                       Check(MultiplyWithoutWarpgroups, cuda::Element::kBF16, {DType::kQ4_K}));
  EXPECT_THAT(why, HasSubstr("does not take their kernel"));
}

TEST_F(ProductCheckTest, ALostDeviceIsAnError) {
  EXPECT_THAT(Check(LoseTheDevice, cuda::Element::kBF16, {DType::kBF16}).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("--wgmma=off")));
}

// The executor takes them where the device has them, it may measure how fast they are, and they are not off.
TEST_F(ProductCheckTest, TheExecutorTells) {
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("qwen3", folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  const RealClock clock;
  const auto products = [&](MatMul matmul, bool measures = true, bool on = true) {
    kernels_.packed_matmul = kernels_.dense_matmul = matmul;
    const auto executor = CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(kernels_),
                                             {.element = cuda::Element::kBF16,
                                              .max_tokens_per_step = 64,
                                              .max_rows_per_step = 8,
                                              .clock = measures ? &clock : nullptr,
                                              .use_wgmma = on,
                                              .use_bulk_copies = false});
    EXPECT_TRUE(executor.ok()) << executor.status();
    return executor.ok() ? (*executor)->products() : std::vector<std::string>();
  };
  const auto none = Not(Contains(HasSubstr("wgmma (")));
  EXPECT_THAT(products(LoseTheDevice), none);
  cuda::emulation::DeviceOptions().major = 9;
  EXPECT_THAT(products(OnHost),
              AllOf(Contains(HasSubstr("by wgmma (")), Contains(HasSubstr("products: wgmma, whose bytes"))));
  EXPECT_THAT(products(MultiplyOtherwise),
              AllOf(none, Contains("products: no wgmma, since wgmma gives other bytes with BF16")));
  EXPECT_THAT(products(LoseTheDevice, /*measures=*/false), none);
  EXPECT_THAT(products(LoseTheDevice, /*measures=*/true, /*on=*/false), none);
}

}  // namespace
}  // namespace ropeway::testing
