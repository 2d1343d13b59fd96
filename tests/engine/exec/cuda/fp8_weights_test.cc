// --weights=fp8 on a CUDA executor whose kernels are executed on the CPU: near the logits of the weights as they are, the
// same bytes however a sequence is cut and whoever is beside it, and clear errors where it cannot be.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/packed_tensors.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/executor_runs.h"
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
                               .max_tokens_per_step = kMostTokens,
                               .max_rows_per_step = 4});
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
  for (const char* tiny_case : {"llama_base", "gemma2", "deepseek_v2", "mixtral", "gpt2"}) {
    SCOPED_TRACE(tiny_case);
    const std::vector<float> exact = Logits(tiny_case, {.fp8 = false}), near = Logits(tiny_case, {});
    EXPECT_LT(Distance(near, exact), 0.6);
    EXPECT_GT(Distance(near, exact), 0.002);
  }
}

// The last bit of a number of 16 bits may decide to which of two numbers of 3 bits of mantissa it is rounded.
TEST_F(Fp8WeightsTest, KernelsComputeWhatTheyMean) {
  for (const auto& [element, bound] :
       {std::pair{cuda::Element::kF32, 0.01}, {cuda::Element::kF16, 0.25}, {cuda::Element::kBF16, 0.25}}) {
    const std::vector<float> meant = Logits("llama_base", {.element = element});
    EXPECT_LT(Distance(Logits("llama_base", {.element = element, .emulates = true}), meant), bound);
  }
}

TEST_F(Fp8WeightsTest, SameBytesHoweverASequenceIsCut) {
  const Options options = {.element = cuda::Element::kBF16, .emulates = true};
  const std::vector<float> whole = Logits("llama_base", options);
  ExpectSameBytes(Logits("llama_base", options, 7), whole);
  ExpectSameBytes(Logits("llama_base", options, 40, 60), whole);
}

TEST_F(Fp8WeightsTest, SameBytesBesideOthers) {
  ASSERT_OK_AND_ASSIGN(const auto executor,
                       Make("llama_base", {.element = cuda::Element::kBF16, .emulates = true}));
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

TEST_F(Fp8WeightsTest, DevicesShareThem) {
  const std::vector<float> exact = Logits("llama_base", {.fp8 = false});
  EXPECT_LT(Distance(Logits("llama_base", {.tensor_parallel = 2}), exact), 0.6);
}

TEST_F(Fp8WeightsTest, TakesLessMemory) {
  ASSERT_OK_AND_ASSIGN(const auto dense, Make("llama_base", {.fp8 = false, .element = cuda::Element::kBF16}));
  ASSERT_OK_AND_ASSIGN(const auto fp8, Make("llama_base", {.element = cuda::Element::kBF16}));
  EXPECT_LT(fp8->upload().bytes, dense->upload().bytes);
  EXPECT_THAT(fp8->description(), HasSubstr("bf16, fp8 weights"));
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
