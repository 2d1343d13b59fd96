// Products for few tokens have their weights by bulk copies where those give the bytes of cp.async, and nowhere else.
#include "engine/exec/cuda/stream_check.h"

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

using MatMul = decltype(cuda::KernelTable::dense_matmul);

// The last token has no products.
cuda::ErrorCode MultiplyOtherwise(const cuda::MatMulArgs& args, cuda::Stream stream) {
  cuda::MatMulArgs other = args;
  if (args.bulk_copies) --other.num_tokens;
  return cuda::emulation::HostKernels().dense_matmul(other, stream);
}

cuda::ErrorCode MultiplyWithoutBulkCopies(const cuda::MatMulArgs& args, cuda::Stream stream) {
  return args.bulk_copies ? kNoKernelImage : cuda::emulation::HostKernels().dense_matmul(args, stream);
}

cuda::ErrorCode LoseTheDevice(const cuda::MatMulArgs& args, cuda::Stream stream) {
  return args.bulk_copies ? cuda::emulation::kKernelFailed
                          : cuda::emulation::HostKernels().dense_matmul(args, stream);
}

class StreamCheckTest : public KernelCheckTest {
 protected:
  absl::StatusOr<std::string> Check(MatMul matmul, cuda::Element element = cuda::Element::kBF16) {
    kernels_.dense_matmul = matmul;
    return WhyNoBulkCopies(element, kernels_, runtime_, stream_);
  }

  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
};

TEST_F(StreamCheckTest, TakesWhatHasTheSameBytesAlone) {
  for (const cuda::Element element : {cuda::Element::kF16, cuda::Element::kBF16}) {
    ASSERT_OK_AND_ASSIGN(const std::string same, Check(cuda::emulation::HostKernels().dense_matmul, element));
    EXPECT_EQ(same, "");
    ASSERT_OK_AND_ASSIGN(const std::string other, Check(MultiplyOtherwise, element));
    EXPECT_EQ(other, "bulk copies give other bytes");
  }
}

TEST_F(StreamCheckTest, GoesOnWhereTheDeviceHasNoSuchKernel) {
  ASSERT_OK_AND_ASSIGN(const std::string why, Check(MultiplyWithoutBulkCopies));
  EXPECT_THAT(why, HasSubstr("does not take their kernel"));
}

TEST_F(StreamCheckTest, ALostDeviceIsAnError) {
  EXPECT_THAT(Check(LoseTheDevice).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("--bulk_copies=off")));
}

// The executor says which it took, and asks for no bulk copies where they are off or the device has none.
TEST_F(StreamCheckTest, TheExecutorTells) {
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("qwen3", folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  const auto products = [&](MatMul matmul, cuda::Element element = cuda::Element::kBF16, bool on = true) {
    kernels_.dense_matmul = matmul;
    const auto executor = CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(kernels_),
                                             {.element = element,
                                              .max_tokens_per_step = 64,
                                              .max_rows_per_step = 8,
                                              .use_wgmma = false,
                                              .use_bulk_copies = on});
    EXPECT_TRUE(executor.ok()) << executor.status();
    return executor.ok() ? (*executor)->products() : std::vector<std::string>();
  };
  const auto none = Not(Contains(HasSubstr("few tokens")));
  const MatMul same = cuda::emulation::HostKernels().dense_matmul;
  EXPECT_THAT(products(LoseTheDevice), none);
  cuda::emulation::DeviceOptions().major = 9;
  EXPECT_THAT(products(same), Contains(HasSubstr("products for few tokens: bulk copies, whose")));
  EXPECT_THAT(products(MultiplyOtherwise),
              Contains("products for few tokens: cp.async, since bulk copies give other bytes"));
  EXPECT_THAT(products(LoseTheDevice, cuda::Element::kF32), none);
  EXPECT_THAT(products(LoseTheDevice, cuda::Element::kBF16, /*on=*/false), none);
}

}  // namespace
}  // namespace ropeway::testing
