// Whole models whose products of packed weights are made by what was the fastest: the same bytes, another way.
#include <algorithm>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/cuda/fused_matmul.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/cuda/partly_packed.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using cuda::Element;
using cuda::ErrorCode;
using cuda::Stream;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr ErrorCode kRefused = 98;

// The host's kernels, beside which time passes.
struct Seen {
  SimulatedClock clock;
  int packed = 0, unpacked = 0;
  int64_t most_fused = 0;  // tokens of a product with its neighbours
};
Seen*& TheSeen() {
  static Seen* seen = nullptr;
  return seen;
}

ErrorCode MultiplySlowly(const cuda::MatMulArgs& args, Stream stream) {
  ++TheSeen()->packed;
  TheSeen()->clock.Advance(args.warpgroups ? absl::Microseconds(10) : absl::Milliseconds(1));
  return cuda::emulation::HostKernels().packed_matmul(args, stream);
}

ErrorCode UnpackAtOnce(const cuda::UnpackArgs& args, Stream stream) {
  ++TheSeen()->unpacked;
  return cuda::emulation::HostKernels().unpack(args, stream);
}

cuda::ErrorCode MultiplyWithNeighbours(const cuda::FusedMatMulArgs& args, Stream stream) {
  TheSeen()->most_fused = std::max(TheSeen()->most_fused, args.product.num_tokens);
  return cuda::emulation::HostKernels().fused_matmul(args, stream);
}

class MeasuredProductsTest : public ::testing::Test {
 protected:
  static constexpr int kTokens = 40;  // by constants too few to be unpacked

  void SetUp() override {
    TheSeen() = &seen_;
    kernels_.packed_matmul = MultiplySlowly;
    kernels_.unpack = UnpackAtOnce;
    kernels_.fused_matmul = MultiplyWithNeighbours;
    ASSERT_OK(WriteTinyModel("qwen3", folder_.path()));
    model_ = OpenPartlyPacked(folder_.path(), [](const TensorId&) { return true; });
    for (int i = 0; i < kTokens; ++i) ids_.push_back((11 * i + 5) % 64);
  }
  void TearDown() override {
    TheSeen() = nullptr;
    cuda::emulation::DeviceOptions() = {};
  }

  std::unique_ptr<CudaExecutor> Open(const Clock* clock, bool gemm_search = true) {
    auto executor = CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(kernels_),
                                       {.element = Element::kBF16,
                                        .kv_cache_bytes = 1 << 20,
                                        .max_tokens_per_step = 80,
                                        .max_rows_per_step = 4,
                                        .gemm_search = gemm_search,
                                        .clock = clock});
    EXPECT_OK(executor.status());
    return executor.ok() ? *std::move(executor) : nullptr;
  }
  std::vector<float> Logits(CudaExecutor& executor, int chunk) const {
    return LogitsOf(LogitSource(executor), ids_, PagesFrom(0, kTokens), chunk);
  }

  Seen seen_;
  const TempFolder folder_;
  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
  OpenedModel model_;
  std::vector<TokenId> ids_;
};

TEST_F(MeasuredProductsTest, WhatWasMeasuredChangesTheWayAndNoByte) {
  const auto plain = Open(nullptr), choosing = Open(&seen_.clock);
  ASSERT_TRUE(plain != nullptr && choosing != nullptr);
  EXPECT_THAT(choosing->products(), Contains(AllOf(HasSubstr("of Q8_0, bf16 to bf16: up to 8 tokens packed;"),
                                                   HasSubstr("up to 64 tokens unpacked"))));
  EXPECT_THAT(plain->products(), Not(Contains(HasSubstr("tokens packed"))));
  seen_.unpacked = 0;
  const std::vector<float> expected = Logits(*plain, kTokens);
  EXPECT_EQ(seen_.unpacked, 0);
  EXPECT_EQ(Logits(*choosing, kTokens), expected);
  EXPECT_GT(seen_.unpacked, 0);
  seen_.unpacked = 0;
  EXPECT_EQ(Logits(*choosing, 16), expected);
  EXPECT_EQ(seen_.unpacked, 0) << "products that may have their neighbours";
}

// Warpgroups have what follows a product of any number of tokens in their kernel.
TEST_F(MeasuredProductsTest, WhatWarpgroupsMultiplyIsFused) {
  cuda::emulation::DeviceOptions().major = 9;
  kernels_.unpack = [](const cuda::UnpackArgs& args, Stream stream) {
    TheSeen()->clock.Advance(absl::Milliseconds(1));
    return cuda::emulation::HostKernels().unpack(args, stream);
  };
  const auto plain = Open(nullptr), choosing = Open(&seen_.clock);
  ASSERT_TRUE(plain != nullptr && choosing != nullptr);
  EXPECT_THAT(choosing->products(), Contains(HasSubstr("up to 64 tokens by wgmma (0.0100 ms)")));
  const std::vector<float> expected = Logits(*plain, kTokens);
  EXPECT_LE(seen_.most_fused, cuda::kFusedTokens);
  EXPECT_EQ(Logits(*choosing, kTokens), expected);
  EXPECT_EQ(seen_.most_fused, kTokens);
}

TEST_F(MeasuredProductsTest, NothingIsMeasuredWithoutASearchOrAClock) {
  ASSERT_TRUE(Open(&seen_.clock, /*gemm_search=*/false) != nullptr);
  ASSERT_TRUE(Open(nullptr) != nullptr);
  EXPECT_EQ(seen_.packed, 0);
  EXPECT_EQ(seen_.unpacked, 0);
}

TEST_F(MeasuredProductsTest, AKernelThatFailsIsNamed) {
  kernels_.packed_matmul = [](const cuda::MatMulArgs&, Stream) { return kRefused; };
  EXPECT_THAT(CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(kernels_),
                                 {.element = Element::kBF16,
                                  .kv_cache_bytes = 1 << 20,
                                  .max_tokens_per_step = 80,
                                  .max_rows_per_step = 4,
                                  .clock = &seen_.clock})
                  .status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("measuring products of matrices")));
}

}  // namespace
}  // namespace ropeway::testing
