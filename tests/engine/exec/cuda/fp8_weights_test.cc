// --weights=fp8 on a CUDA executor whose kernels are executed on the CPU: near the logits of the weights as they are, the
// same bytes however a sequence is cut and whoever is beside it, and clear errors where it cannot be.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "engine/kernels/cuda/shared_bytes.h"
#include "engine/model/packed_tensors.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/cuda/partly_packed.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kMostTokens = 128;

class Fp8WeightsTest : public ::testing::Test {
 protected:
  void SetUp() override { cuda::emulation::DeviceOptions().minor = 9; }
  void TearDown() override { cuda::emulation::DeviceOptions() = {}; }

  static std::vector<TokenId> Ids(int count, TokenId factor) {
    std::vector<TokenId> ids;
    for (TokenId id = 1; id <= count; ++id) ids.push_back(id * factor % 320);
    return ids;
  }

  struct Options {
    bool fp8 = true;
    cuda::Element element = cuda::Element::kF32;
    bool emulates = false;  // the kernels themselves; else what they mean, in loops
    int tensor_parallel = 1;
    bool wgmma = true;  // where the device has it
    int max_tokens = kMostTokens;
  };
  absl::StatusOr<std::unique_ptr<CudaExecutor>> Make(const OpenedModel& model, const Options& options) const {
    using namespace cuda::emulation;
    const cuda::Backend& backend = options.emulates ? EmulatedBackend(cuda::Kernels(), cuda::Fp8Kernels())
                                                    : EmulatedBackend(HostKernels());
    return CudaExecutor::Make(model, backend,
                              {.element = options.element,
                               .fp8_weights = options.fp8,
                               .tensor_parallel = options.tensor_parallel,
                               .kv_cache_bytes = 8 << 20,
                               .max_tokens_per_step = options.max_tokens,
                               .max_rows_per_step = 4,
                               .use_wgmma = options.wgmma});
  }
  absl::StatusOr<std::unique_ptr<CudaExecutor>> Make(const std::string& tiny_case,
                                                     const Options& options) const {
    const TempFolder folder;
    EXPECT_THAT(WriteTinyModel(tiny_case, folder.path()), IsOk());
    absl::StatusOr<OpenedModel> model = OpenModel(folder.path());
    if (!model.ok()) return model.status();
    return Make(*model, options);
  }

  std::vector<float> Logits(const std::string& tiny_case, const Options& options, int chunk = kMostTokens,
                            int32_t decode_from = INT32_MAX) const {
    const auto executor = Make(tiny_case, options);
    EXPECT_THAT(executor.status(), IsOk());
    if (!executor.ok()) return {};
    return LogitsOf(**executor, ids_, PagesFrom(0, ids_.size()), chunk, 0, {}, decode_from);
  }

  static void ExpectSameBytes(const std::vector<float>& a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
  }

  const std::vector<TokenId> ids_ = Ids(90, 53);
};

// Two roundings of a relative error of up to 1/16, which layers of random weights magnify: logits that have nothing to do
// with each other are 1.4 apart.
TEST_F(Fp8WeightsTest, LogitsStayNear) {
  for (const char* tiny_case : {"llama_base", "gemma2", "gpt2", "deepseek_v2", "deepseek_v3", "gpt_oss",
                                "gpt_oss_mxfp4", "granitemoeshared", "llama4_text", "mixtral", "qwen2_moe"}) {
    SCOPED_TRACE(tiny_case);
    const std::vector<float> exact = Logits(tiny_case, {.fp8 = false}), near = Logits(tiny_case, {});
    EXPECT_LT(Distance(near, exact), 0.6);
    EXPECT_GT(Distance(near, exact), 0.002);
  }
}

// Dense; experts beside one for all tokens, with a gate; with biases; whose inputs are multiplied by their weights.
class Fp8KindTest : public Fp8WeightsTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    Fp8WeightsTest::SetUp();
    if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  }
};
INSTANTIATE_TEST_SUITE_P(Models, Fp8KindTest,
                         ::testing::Values("llama_base", "qwen2_moe", "gpt_oss", "llama4_text"),
                         [](const auto& info) { return std::string(info.param); });

// The last bit of a number of 16 bits may decide to which of two numbers of 3 bits of mantissa it is rounded.
TEST_P(Fp8KindTest, KernelsComputeWhatTheyMean) {
  for (const auto& [element, bound] :
       {std::pair{cuda::Element::kF32, 0.03}, {cuda::Element::kF16, 0.25}, {cuda::Element::kBF16, 0.25}}) {
    const std::vector<float> meant = Logits(GetParam(), {.element = element});
    EXPECT_LT(Distance(Logits(GetParam(), {.element = element, .emulates = true}), meant), bound);
  }
}

TEST_P(Fp8KindTest, SameBytesHoweverASequenceIsCut) {
  const Options options = {.element = cuda::Element::kBF16, .emulates = true};
  const std::vector<float> whole = Logits(GetParam(), options);
  ExpectSameBytes(Logits(GetParam(), options, 7), whole);
  ExpectSameBytes(Logits(GetParam(), options, 40, 60), whole);
}

TEST_P(Fp8KindTest, SameBytesBesideOthers) {
  ASSERT_OK_AND_ASSIGN(const auto executor,
                       Make(GetParam(), {.element = cuda::Element::kBF16, .emulates = true}));
  const std::vector<TokenId> one = Ids(20, 53), other = Ids(70, 31);
  const std::vector<PageId> one_pages = PagesFrom(0, one.size());
  const std::vector<PageId> other_pages = PagesFrom(static_cast<PageId>(one_pages.size()), other.size());
  const int32_t last = static_cast<int32_t>(one.size()) - 1;
  const LogitSource source(*executor);
  std::vector<float> alone, beside;
  const auto to = [](std::vector<float>& logits) {
    return [&logits](int32_t, absl::Span<const float> row) { logits.assign(row.begin(), row.end()); };
  };
  source.Visit(PlanOf({{one, 0, one_pages}}), {last}, to(alone));
  source.Visit(PlanOf({{one, 0, one_pages}, {other, 0, other_pages}}), {last}, to(beside));
  ExpectSameBytes(alone, beside);
}

// Prompts longer than what mma.sync multiplies, by either.
TEST_P(Fp8KindTest, PromptsByWarpgroupsHaveTheSameBytes) {
  cuda::emulation::DeviceOptions() = {
      .shared_bytes_max = cuda::kMostWarpgroupSharedBytes, .major = 9, .minor = 0};
  const std::vector<TokenId> ids = Ids(150, 53);
  std::vector<float> logits[2];
  for (const bool wgmma : {false, true}) {
    ASSERT_OK_AND_ASSIGN(
        const auto executor,
        Make(GetParam(),
             {.element = cuda::Element::kBF16, .emulates = true, .wgmma = wgmma, .max_tokens = 160}));
    EXPECT_EQ(wgmma,
              absl::c_linear_search(executor->products(),
                                    "products of prompts by fp8: wgmma, whose bytes are those of mma.sync"));
    logits[wgmma] = LogitsOf(*executor, ids, PagesFrom(0, ids.size()), 160);
    if (wgmma) ExpectSameBytes(LogitsOf(*executor, ids, PagesFrom(0, ids.size()), 100), logits[wgmma]);
  }
  ExpectSameBytes(logits[1], logits[0]);
}

TEST_F(Fp8WeightsTest, DevicesShareThem) {
  for (const char* tiny_case : {"llama_base", "mixtral"}) {
    const std::vector<float> exact = Logits(tiny_case, {.fp8 = false});
    EXPECT_LT(Distance(Logits(tiny_case, {.tensor_parallel = 2}), exact), 0.6) << tiny_case;
  }
}

// Of routers none are, and what a file has packed stays so.
TEST_F(Fp8WeightsTest, CountsMatricesOfLayersAndOfTheirExperts) {
  constexpr int64_t kLayers = 4, kHidden = 96, kExperts = 5;
  constexpr int64_t kQueries = 6 * 16, kKeys = 2 * 16;
  ASSERT_OK_AND_ASSIGN(const auto mixtral, Make("mixtral", {}));
  constexpr int64_t kAttention = kHidden * (2 * kQueries + 2 * kKeys);
  EXPECT_EQ(mixtral->fp8_numbers(), kLayers * (kAttention + kExperts * 3 * 56 * kHidden));
  ASSERT_OK_AND_ASSIGN(const auto packed, Make("gpt_oss_mxfp4", {}));
  constexpr int64_t kOfHeads24 = kHidden * 24 * (2 * 6 + 2 * 2);
  EXPECT_EQ(packed->fp8_numbers(), kLayers * kOfHeads24);
}

// Of gate and up each is multiplied as it is held.
TEST_F(Fp8WeightsTest, PackedExpertsStayPackedBesideThem) {
  if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  const TempFolder folder;
  ASSERT_THAT(WriteTinyModel("mixtral", folder.path()), IsOk());
  const std::vector<PageId> pages = PagesFrom(0, ids_.size());
  for (const WeightRole packed : {WeightRole::kExpertGate, WeightRole::kExpertUp}) {
    std::vector<float> logits[2];
    for (const bool fp8 : {false, true}) {
      const OpenedModel model =
          OpenPartlyPacked(folder.path(), [&](const TensorId& id) { return id.role == packed; });
      ASSERT_OK_AND_ASSIGN(const auto executor, Make(model, {.fp8 = fp8, .emulates = true}));
      logits[fp8] = LogitsOf(*executor, ids_, pages, kMostTokens);
    }
    EXPECT_LT(Distance(logits[1], logits[0]), 0.6);
    EXPECT_GT(Distance(logits[1], logits[0]), 0.002);
  }
}

TEST_F(Fp8WeightsTest, TakesLessMemory) {
  for (const char* tiny_case : {"llama_base", "mixtral"}) {
    ASSERT_OK_AND_ASSIGN(const auto dense, Make(tiny_case, {.fp8 = false, .element = cuda::Element::kBF16}));
    ASSERT_OK_AND_ASSIGN(const auto fp8, Make(tiny_case, {.element = cuda::Element::kBF16}));
    EXPECT_LT(fp8->upload().bytes, dense->upload().bytes);
    EXPECT_THAT(fp8->description(), HasSubstr("bf16, fp8 weights"));
  }
}

TEST_F(Fp8WeightsTest, OlderDevicesRefuse) {
  cuda::emulation::DeviceOptions().minor = 6;
  EXPECT_THAT(Make("llama_base", {}).status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       "fp8 weights: compute capability must be at least 8.9, is 8.6 (emulated device)"));
  EXPECT_THAT(Make("llama_base", {.fp8 = false}).status(), IsOk());
}

TEST_F(Fp8WeightsTest, PackedFilesHaveNothingToConvert) {
  const TempFolder folder;
  ASSERT_THAT(WriteTinyModel("llama_base", folder.path()), IsOk());
  ASSERT_OK_AND_ASSIGN(OpenedModel model, OpenModel(folder.path()));
  model.tensors = PackTo8Bits(std::move(model.tensors), model.spec);
  EXPECT_THAT(Make(model, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fp8 weights: ")));
}

}  // namespace
}  // namespace ropeway::testing
