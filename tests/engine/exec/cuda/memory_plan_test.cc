// How a device's memory is divided, from facts alone.
#include "engine/exec/cuda/memory_plan.h"

#include <string>

#include "engine/kernels/cuda/shared_bytes.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

// The shape of a Llama-3.1-8B.
DecoderSpec Spec() {
  DecoderSpec spec;
  spec.vocab_size = 128256;
  spec.context_length = 131072;
  spec.hidden_size = 4096;
  spec.num_heads = 32;
  spec.num_kv_heads = 8;
  spec.head_dim = spec.value_dim = 128;
  spec.layers.resize(32);
  for (LayerSpec& layer : spec.layers) layer.ffn.size = 14336;
  return spec;
}

CudaMemoryOptions Options() {
  return {.max_model_len = 8192,
          .max_tokens = 2048,
          .max_rows = 256,
          .max_logprobs = 20,
          .max_changes = 1 << 20,
          .memory_fraction = 0.9};
}

cuda::DeviceInfo Device() {
  return {.name = "card", .major = 9, .processors = 132, .total_bytes = 80 * kGiB, .free_bytes = 78 * kGiB};
}

TEST(PlanMemoryTest, PagesGetWhatWeightsAndWorkspaceLeave) {
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(Spec(), Options(), Device(), 16 * kGiB));
  EXPECT_EQ(plan.page_bytes, 16 * 8 * (128 + 128) * 2 * 32);
  const int64_t allowed = static_cast<int64_t>(0.9 * 78 * kGiB);
  const int64_t taken = plan.weight_bytes + plan.working_bytes() + plan.num_pages * plan.page_bytes;
  EXPECT_LE(taken, allowed);
  EXPECT_GT(taken + plan.page_bytes, allowed);
}

TEST(PlanMemoryTest, BoundsOfStepsFollowTheOptions) {
  CudaMemoryOptions options = Options();
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(Spec(), options, Device(), 0));
  EXPECT_EQ(plan.step.max_logit_rows, 256);
  EXPECT_EQ(plan.step.max_bucket, 256);
  EXPECT_EQ(plan.step.max_model_pages, 512);
  EXPECT_EQ(plan.step.max_changes, 1 << 20);
  EXPECT_EQ(plan.largest_step.changes, 1 << 20);
  EXPECT_EQ(plan.max_top, 20);
  options.max_changes = 1;
  options.use_graphs = false;
  options.max_rows = 4;
  options.max_tokens = 16;
  options.max_logprobs = 0;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan small, PlanMemory(Spec(), options, Device(), 0));
  EXPECT_EQ(small.step.max_changes, 128256) << "any sample's changes fit";
  EXPECT_EQ(small.step.max_bucket, 0);
  EXPECT_EQ(small.step.max_logit_rows, 16);
  EXPECT_EQ(small.max_top, 1);
  EXPECT_LT(small.working_bytes(), plan.working_bytes());
}

TEST(PlanMemoryTest, NoMoreChangesThanRowsCanMake) {
  DecoderSpec spec = Spec();
  spec.vocab_size = 100;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(spec, Options(), Device(), 0));
  EXPECT_EQ(plan.step.max_changes, 100 * 256);
}

// Wide groups of query heads have no narrow tiles in a decode step, so that its work is not bounded by a
// bucket.
TEST(PlanMemoryTest, NoGraphsWhereDecodeTilesAreWide) {
  DecoderSpec spec = Spec();
  spec.num_kv_heads = 1;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(spec, Options(), Device(), 0));
  EXPECT_EQ(plan.step.max_bucket, 0);
}

TEST(PlanMemoryTest, PromptsAreAttendedByWgmmaWhereItIsAndMayBeUsed) {
  CudaMemoryOptions options = Options();
  const auto uses_wgmma = [&](const cuda::DeviceInfo& device) {
    const absl::StatusOr<CudaMemoryPlan> plan = PlanMemory(Spec(), options, device, 0);
    return plan.ok() && plan->step.attention.warpgroups;
  };
  EXPECT_TRUE(uses_wgmma(Device()));
  cuda::DeviceInfo newer = Device();
  newer.major = 10;
  EXPECT_FALSE(uses_wgmma(newer));
  options.element = cuda::Element::kF16;
  EXPECT_FALSE(uses_wgmma(Device())) << "keys and values are not of this type";
  options.kv_element = cuda::KvElement::kF16;
  EXPECT_TRUE(uses_wgmma(Device()));
  options.use_wgmma = false;
  EXPECT_FALSE(uses_wgmma(Device()));
}

// A row of codes and a scale for each token, or for each choice of experts; of wgmma codes are numbers of f16.
TEST(PlanMemoryTest, ThereIsRoomForActivationsOfFp8) {
  CudaMemoryOptions options = Options();
  DecoderSpec spec = Spec();
  spec.layers[1].ffn.size = 1000;
  spec.layers[1].ffn.experts.count = 64;
  spec.layers[1].ffn.experts.per_token = 8;
  const auto room = [&](Fp8Widths widest, int major) {
    const auto bytes = [&](Fp8Widths widths) {
      CudaMemoryOptions own = options;
      own.widest_fp8 = widths;
      cuda::DeviceInfo device = Device();
      device.major = major;
      const absl::StatusOr<CudaMemoryPlan> plan = PlanMemory(spec, own, device, 0);
      return plan.ok() ? plan->activation_bytes : -1;
    };
    return bytes(widest) - bytes({});
  };
  EXPECT_EQ(room({.of_all = 14336}, 10), 2048 * 14336 + 8 * 2048 * 4);
  EXPECT_EQ(room({.of_all = 14336}, 9), 2048 * 14336 * 2 + 8 * 2048 * 4);
  EXPECT_EQ(room({.of_all = 4096, .of_choices = 1000}, 10), 8 * 2048 * (1024 + 4));
  options.max_tokens = static_cast<int32_t>(kFp8MmaTokens);
  EXPECT_EQ(room({.of_all = 14336}, 9), 128 * 14336 + 8 * 128 * 4);
}

// Gate and up of experts come together in registers, unless they are products of their own.
TEST(PlanMemoryTest, InputsOfExpertsTakeNoRoomButOfSeveralMatrices) {
  DecoderSpec spec = Spec();
  spec.layers[1].ffn.size = 1000;
  spec.layers[1].ffn.experts.count = 64;
  spec.layers[1].ffn.experts.per_token = 8;
  CudaMemoryOptions options = Options();
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan together, PlanMemory(spec, options, Device(), 0));
  options.widest_split_input = 2000;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan apart, PlanMemory(spec, options, Device(), 0));
  EXPECT_EQ(apart.activation_bytes - together.activation_bytes, 8 * 2048 * 2000 * 2);
}

TEST(PlanMemoryTest, AWindowBoundsAttentionWhereAllLayersHaveOne) {
  DecoderSpec spec = Spec();
  for (LayerSpec& layer : spec.layers) layer.position.window = 1024;
  spec.layers[3].position.window = 4096;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(spec, Options(), Device(), 0));
  EXPECT_EQ(plan.step.window, 4096);
  spec.layers[5].position.window = 0;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan unbounded, PlanMemory(spec, Options(), Device(), 0));
  EXPECT_EQ(unbounded.step.window, 0);
}

TEST(PlanMemoryTest, OneRankOfAGroupHasResults) {
  CudaMemoryOptions options = Options();
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan first, PlanMemory(Spec(), options, Device(), 0));
  options.samples = false;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan second, PlanMemory(Spec(), options, Device(), 0));
  EXPECT_GT(second.result_bytes, 0) << "the tokens";
  EXPECT_GT(first.result_bytes, second.result_bytes);
  EXPECT_EQ(second.input_bytes, first.input_bytes) << "every rank takes the same step";
}

TEST(PlanMemoryTest, AFixedCacheHasItsPages) {
  CudaMemoryOptions options = Options();
  options.kv_cache_bytes = kGiB;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan plan, PlanMemory(Spec(), options, Device(), 0));
  EXPECT_EQ(plan.num_pages, kGiB / plan.page_bytes);
  options.kv_element = cuda::KvElement::kInt8;
  ASSERT_OK_AND_ASSIGN(const CudaMemoryPlan narrow, PlanMemory(Spec(), options, Device(), 0));
  EXPECT_EQ(narrow.page_bytes, plan.page_bytes / 2 + 2 * 16 * 8 * 4 * 32) << "codes, and their scales";
}

TEST(PlanMemoryTest, NamesWhatDoesNotFit) {
  CudaMemoryOptions options = Options();
  EXPECT_THAT(PlanMemory(Spec(), options, Device(), 80 * kGiB).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("the model needs"), HasSubstr("weights 85899345920"),
                             HasSubstr("83751862272 that are free on card"))));
  options.kv_cache_bytes = 100 * kGiB;
  EXPECT_THAT(PlanMemory(Spec(), options, Device(), 0).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("keys and values 107374182400")));
}

TEST(CheckSupportedTest, NamesWhatHasNoKernel) {
  cuda::DeviceInfo old = Device();
  old.major = 7;
  EXPECT_OK(CheckSupported(Spec(), Options(), Device()));
  EXPECT_THAT(CheckSupported(Spec(), Options(), old),
              StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr("8.0"), HasSubstr("7.0 (card)"))));
  DecoderSpec spec = Spec();
  spec.head_dim = 100;
  EXPECT_OK(CheckSupported(spec, Options(), Device()));
  CudaMemoryOptions options = Options();
  options.kv_element = cuda::KvElement::kF32;
  EXPECT_THAT(CheckSupported(spec, options, Device()),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no attention kernel for head_dim 100")));
}

TEST(CheckSupportedTest, NamesRowsThatAreTooWide) {
  DecoderSpec spec = Spec();
  spec.hidden_size = cuda::kMostNormColumns;
  EXPECT_OK(CheckSupported(spec, Options(), Device()));
  ++spec.hidden_size;
  EXPECT_THAT(CheckSupported(spec, Options(), Device()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("rows of 23297 columns"), HasSubstr("at most 23296"))));
  spec.hidden_size = 64;
  spec.embedding_size = 30000;
  EXPECT_THAT(CheckSupported(spec, Options(), Device()),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("rows of 30000 columns")));
}

}  // namespace
}  // namespace ropeway::testing
