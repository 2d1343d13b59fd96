// Layers whose experts a file has in several types: what a CUDA executor computes is what the CPU does.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/cuda/partly_packed.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

void ExpectLogitsOfCpu(const IsPackedTensor& is_packed) {
  const TempFolder folder;
  ASSERT_THAT(WriteTinyModel("mixtral", folder.path()), IsOk());
  std::vector<TokenId> ids;
  for (TokenId id = 3; id < 40; ++id) ids.push_back(id * 7 % 320);
  const std::vector<PageId> pages = PagesFrom(0, ids.size());
  ASSERT_OK_AND_ASSIGN(
      const auto cpu,
      CpuExecutor::Make(
          OpenPartlyPacked(folder.path(), is_packed),
          {.kv_type = kernels::KvType::kF32, .kernels = "ref", .threads = 1, .kv_cache_bytes = 1 << 20}));
  const std::vector<float> expected = LogitsOf(*cpu, ids, pages, 64);
  const OpenedModel model = OpenPartlyPacked(folder.path(), is_packed);
  for (const cuda::KernelTable* kernels : {&cuda::Kernels(), &cuda::emulation::HostKernels()}) {
    ASSERT_OK_AND_ASSIGN(const auto executor,
                         CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(*kernels),
                                            {.element = cuda::Element::kF32,
                                             .kv_cache_bytes = 1 << 20,
                                             .max_tokens_per_step = 64,
                                             .max_rows_per_step = 4}));
    const std::vector<float> logits = LogitsOf(*executor, ids, pages, 64);
    ASSERT_EQ(logits.size(), expected.size());
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 1e-4) << i;
  }
}

TEST(MixedExpertsTest, GateAndUpOfDifferentTypes) {
  ExpectLogitsOfCpu([](const TensorId& id) { return id.role == WeightRole::kExpertGate; });
}

TEST(MixedExpertsTest, ExpertsOfDifferentTypes) {
  ExpectLogitsOfCpu([](const TensorId& id) {
    return (id.role == WeightRole::kExpertGate && id.expert == 1) ||
           (id.role == WeightRole::kExpertUp && id.expert != 2);
  });
}

}  // namespace
}  // namespace ropeway::testing
