// Every golden case of one attention layer on the device's kernels in float32: as one prompt and token by
// token, whole and split into chunks. All give the same bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/golden_attention.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::cuda {
namespace {

using kernels::GoldenAttention;

class PositionGoldenTest : public DeviceTest {
 protected:
  // Uploads what stays from step to step. Pages before the first position hold nothing and share one.
  void Load(const GoldenAttention& golden) {
    golden_ = &golden;
    args_ = {.element = Element::kF32,
             .kv = {.element = KvElement::kF32,
                    .num_kv_heads = golden.num_kv_heads,
                    .head_dim = golden.head_dim,
                    .value_dim = golden.value_dim},
             .num_heads = golden.num_heads,
             .scale = golden.scale,
             .max_pages = (golden.num_positions + kPageTokens - 1) / kPageTokens};
    args_.modifier = golden.modifier.Moved([&](const float* table, int64_t floats) {
      return Upload(std::vector<float>(table, table + floats));
    });
    std::vector<int32_t> page_table(args_.max_pages);
    const int first = golden.first_position / kPageTokens, pages = args_.max_pages - first;
    for (int p = 0; p < pages; ++p) page_table[first + p] = pages - p;
    args_.page_tables = Upload(page_table);
    args_.kv.data = Upload(PageBytes(page_table, pages + 1));
  }

  // [T, H, Ev] of tokens [first, first + count).
  std::vector<float> Attend(int first, int count, bool split) {
    const int64_t queries = int64_t{golden_->num_heads} * golden_->head_dim;
    const void** places[] = {&args_.queries, &args_.previous_queries, &args_.older_queries};
    for (int zone = 0; zone < 3; ++zone) {
      const std::vector<float>& all = golden_->queries[zone];
      if (!all.empty())
        *places[zone] =
            Upload(std::vector<float>(&all[first * queries], &all[first * queries] + count * queries));
    }
    const AttentionShape shape{.num_heads = args_.num_heads,
                               .num_kv_heads = args_.kv.num_kv_heads,
                               .head_dim = args_.kv.head_dim,
                               .value_dim = args_.kv.value_dim,
                               .mixer_width = args_.modifier.mixer.width,
                               .processors = split ? 1000 : 1,
                               .max_partials = split ? 1 << 20 : 0};
    EXPECT_EQ(AttentionUnsupported(shape, args_.element, args_.kv.element), nullptr);
    const std::vector<int32_t> positions(&golden_->positions[first], &golden_->positions[first] + count);
    AttentionPlan plan;
    PlanAttention(shape, std::vector<int32_t>{0, count}, positions,
                  golden_->num_positions - golden_->first_position, plan);
    const auto* counts = Upload(std::vector<int32_t>{static_cast<int32_t>(plan.narrow.size()),
                                                     static_cast<int32_t>(plan.wide.size())});
    const auto blocks = [](size_t items) { return items == 0 ? 0 : 2; };
    args_.narrow = {Upload(plan.narrow), counts, blocks(plan.narrow.size())};
    args_.wide = {Upload(plan.wide), counts + 1, blocks(plan.wide.size())};
    args_.merges = Upload(plan.merges);
    args_.arrivals = Upload(std::vector<int32_t>(plan.merges.size() * shape.num_kv_heads));
    args_.workspace = Allocate<float>(AttentionWorkspaceFloats(shape, plan.num_partials) + 4);
    const int64_t floats = int64_t{count} * golden_->num_heads * golden_->value_dim;
    auto* out = Allocate<float>(floats);
    args_.out = out;
    Check(Attention(args_, stream()));
    return Download(out, floats);
  }

 private:
  // Numbers that no token has are NaN.
  std::vector<uint8_t> PageBytes(const std::vector<int32_t>& page_table, int pages) const {
    const KvPages& kv = args_.kv;
    std::vector<uint8_t> bytes(pages * kv.page_bytes(), 0xFF);
    for (int32_t position = golden_->first_position; position < golden_->num_positions; ++position)
      for (int g = 0; g < kv.num_kv_heads; ++g) {
        const int64_t row = int64_t{position - golden_->first_position} * kv.num_kv_heads + g;
        uint8_t* page = &bytes[page_table[position / kPageTokens] * kv.page_bytes()];
        const int64_t slot = int64_t{g} * kPageTokens + position % kPageTokens;
        const int64_t values = int64_t{kv.num_kv_heads} * kPageTokens * kv.head_dim + slot * kv.value_dim;
        std::memcpy(page + slot * kv.head_dim * 4, &golden_->keys[row * kv.head_dim], kv.head_dim * 4);
        std::memcpy(page + values * 4, &golden_->values[row * kv.value_dim], kv.value_dim * 4);
      }
    return bytes;
  }

  const GoldenAttention* golden_ = nullptr;
  AttentionArgs args_;
};

TEST_F(PositionGoldenTest, EveryCase) {
  const absl::StatusOr<std::vector<testing::GoldenCase>> cases = testing::ReadGoldenCases();
  ASSERT_OK(cases);
  for (const testing::GoldenCase& one : *cases) {
    const GoldenAttention golden = kernels::PrepareGolden(one);
    SCOPED_TRACE(golden.name);
    Load(golden);
    const int tokens = static_cast<int>(golden.positions.size());
    const int64_t row = int64_t{golden.num_heads} * golden.value_dim;
    const std::vector<float> whole = golden.contiguous() ? Attend(0, tokens, false) : std::vector<float>{};
    for (int t = 0; t < tokens; t += golden.contiguous() ? 5 : 1) {
      const std::vector<float> out = Attend(t, 1, t % 2 == 1);
      for (int64_t i = 0; i < row; ++i)
        ASSERT_NEAR(out[i], golden.out[t * row + i], 2e-6) << "token " << t << " column " << i;
      if (!golden.contiguous()) continue;
      ASSERT_TRUE(std::equal(out.begin(), out.end(), &whole[t * row])) << "token " << t;
    }
    for (size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(whole[i], golden.out[i], 2e-6) << "element " << i;
  }
}

}  // namespace
}  // namespace ropeway::cuda
