// What a user asks for beside the file, --rope_scaling and --weights, on a CUDA executor whose kernels are executed on
// the CPU: the logits are those of the CPU executor.
#include <string>
#include <vector>

#include "engine/model/packed_tensors.h"
#include "engine/model/rope_scaling.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

struct Overrides {
  std::string rope_scaling;
  bool packs = false;  // --weights=q8_0
};

class OverridesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
    ASSERT_THAT(WriteTinyModel("llama_base", folder_.path()), IsOk());
    for (TokenId id = 1; id <= 40; ++id) ids_.push_back(id * 53 % 320);
  }

  OpenedModel Open(const Overrides& overrides) const {
    absl::StatusOr<OpenedModel> model = OpenModel(folder_.path());
    EXPECT_THAT(model.status(), IsOk());
    EXPECT_THAT(OverrideRopeScaling("--rope_scaling", overrides.rope_scaling, model->spec), IsOk());
    if (overrides.packs) model->tensors = PackTo8Bits(std::move(model->tensors), model->spec);
    return *std::move(model);
  }

  // A request that is admitted for more positions than the model was made for.
  AdmittedLengths Lengths(const OpenedModel& model) const {
    return {.prompt_length = static_cast<int32_t>(ids_.size()),
            .max_new_tokens = model.spec.context_length - static_cast<int32_t>(ids_.size())};
  }

  std::vector<float> OnCpu(const Overrides& overrides) {
    OpenedModel model = Open(overrides);
    const AdmittedLengths lengths = Lengths(model);
    auto executor = CpuExecutor::Make(
        std::move(model),
        {.kv_type = kernels::KvType::kF32, .kernels = "ref", .threads = 1, .kv_cache_bytes = 8 << 20});
    EXPECT_THAT(executor.status(), IsOk());
    return LogitsOf(**executor, ids_, PagesFrom(0, ids_.size()), 64, 0, lengths);
  }

  // Half of it as a prompt, half token by token.
  std::vector<float> OnCuda(const Overrides& overrides, cuda::Element element) {
    const OpenedModel model = Open(overrides);
    const auto executor = CudaExecutor::Make(
        model, cuda::emulation::EmulatedBackend(cuda::Kernels()),
        {.element = element, .kv_cache_bytes = 8 << 20, .max_tokens_per_step = 64, .max_rows_per_step = 4});
    EXPECT_THAT(executor.status(), IsOk());
    return LogitsOf(**executor, ids_, PagesFrom(0, ids_.size()), 64, 0, Lengths(model), 20);
  }

  const TempFolder folder_;
  std::vector<TokenId> ids_;
};

TEST_F(OverridesTest, RopeScaling) {
  const std::vector<float> plain = OnCpu({});
  for (const char* scaling :
       {"linear:factor=4", "ntk:factor=4", "dynamic:factor=4,original=20", "yarn:factor=4",
        "llama3:factor=8,low_freq_factor=1,high_freq_factor=4,original=64"}) {
    SCOPED_TRACE(scaling);
    const std::vector<float> expected = OnCpu({.rope_scaling = scaling});
    EXPECT_GT(Distance(expected, plain), 1e-3);
    EXPECT_LT(Distance(OnCuda({.rope_scaling = scaling}, cuda::Element::kF32), expected), 1e-5);
  }
}

TEST_F(OverridesTest, Weights) {
  const std::vector<float> plain = OnCpu({}), expected = OnCpu({.packs = true});
  EXPECT_GT(Distance(expected, plain), 1e-4);
  EXPECT_LT(Distance(OnCuda({.packs = true}, cuda::Element::kF32), expected), 1e-5);
  // Of 8 bits of mantissa.
  EXPECT_LT(Distance(OnCuda({.packs = true}, cuda::Element::kBF16), expected), 0.03);
}

TEST_F(OverridesTest, Both) {
  const Overrides both{.rope_scaling = "yarn:factor=2", .packs = true};
  EXPECT_LT(Distance(OnCuda(both, cuda::Element::kF32), OnCpu(both)), 1e-5);
}

}  // namespace
}  // namespace ropeway::testing
