// How many blocks a pass launches attention with.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/exec/cuda/executor.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

// Of narrow and of wide items, at the last launch.
std::pair<int, int>& LastBlocks() {
  static std::pair<int, int> blocks;
  return blocks;
}

cuda::ErrorCode AttendAndTell(const cuda::AttentionArgs& args, cuda::Stream stream) {
  LastBlocks() = {args.narrow.blocks, args.wide.blocks};
  return cuda::emulation::HostKernels().attention(args, stream);
}

class PassAttentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(WriteTinyModel("qwen3", folder_.path()));  // 6 heads, 2 KV heads
    ASSERT_OK_AND_ASSIGN(model_, OpenModel(folder_.path()));
    kernels_.attention = AttendAndTell;
  }
  void TearDown() override { cuda::emulation::DeviceOptions() = {}; }

  // Of a step of `rows` rows with `tokens` tokens each, on a device with so many processors.
  std::pair<int, int> Blocks(int32_t rows, int32_t tokens, int processors, int major = 8) {
    cuda::emulation::DeviceOptions().processors = processors;
    cuda::emulation::DeviceOptions().major = major;
    const auto executor = CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(kernels_),
                                             {.element = cuda::Element::kBF16,
                                              .kv_cache_bytes = 1 << 20,
                                              .max_tokens_per_step = 128,
                                              .max_rows_per_step = 8,
                                              .use_graphs = false});
    EXPECT_OK(executor.status());
    if (!executor.ok()) return {};
    StepPlan plan;
    std::vector<std::vector<PageId>> pages(rows);
    for (int32_t row = 0; row < rows; ++row) {
      for (int32_t page = 0; page < PagesFor(tokens); ++page)
        pages[row].push_back(row * PagesFor(tokens) + page);
      for (int32_t t = 0; t < tokens; ++t) {
        plan.token_ids.push_back(t);
        plan.positions.push_back(t);
      }
      plan.row_starts.push_back(plan.num_tokens());
      plan.page_tables.push_back(pages[row]);
    }
    EXPECT_OK((*executor)->Step(plan).status());
    return LastBlocks();
  }

  const TempFolder folder_;
  OpenedModel model_;
  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
};

TEST_F(PassAttentionTest, BlocksAreOfItemsTimesKvHeadsAsManyAsTheDeviceTakes) {
  EXPECT_EQ(Blocks(5, 1, 100), std::pair(5 * 2, 0));
  EXPECT_EQ(Blocks(5, 1, 2), std::pair(2 * cuda::kOtherBlocks, 0));
  EXPECT_EQ(Blocks(1, 100, 100), std::pair(0, 5 * 2)) << "300 pairs, 64 an item";
  EXPECT_EQ(Blocks(1, 100, 1), std::pair(0, 1 * cuda::kOtherBlocks));
}

TEST_F(PassAttentionTest, OfThoseThatCopyInBulkAsManyAsFindRoom) {
  EXPECT_EQ(Blocks(5, 1, 100, 9), std::pair(5 * 2, 0));
  EXPECT_EQ(Blocks(5, 1, 2, 9), std::pair(2 * cuda::kDecodeBlocks, 0));
}

}  // namespace
}  // namespace ropeway::testing
