// Every golden case of one attention layer on every kernel set: as one prompt, token by token, and in chunks
// that do not divide the length, from pages in any order. All give the same bytes.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/golden_attention.h"
#include "tests/kernels/kernel_inputs.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::kernels {
namespace {

// One case on one table, its keys and values in a float32 cache.
class GoldenRun {
 public:
  GoldenRun(const KernelTable& table, const GoldenAttention& golden)
      : table_(table),
        golden_(golden),
        kv_(MakeKvLayout(KvType::kF32, golden.num_kv_heads, golden.head_dim, golden.value_dim)),
        page_table_((golden.num_positions + kPageTokens - 1) / kPageTokens) {
    // Pages before the first position hold nothing and share one.
    const int first = golden.first_position / kPageTokens,
              pages = static_cast<int>(page_table_.size()) - first;
    for (int p = 0; p < pages; ++p) page_table_[first + p] = 1 + (p * 5 + 2) % pages;
    if (pages % 5 == 0)
      for (int p = 0; p < pages; ++p) page_table_[first + p] = pages - p;
    cache_ = AlignedBuffer(NumQuads(pages + 1) * kv_.quad_bytes);
    for (int32_t position = golden.first_position; position < golden.num_positions; ++position) {
      const int64_t row = int64_t{position - golden.first_position} * golden.num_kv_heads;
      table_.store_kv({.kv = kv_,
                       .cache = cache_.data(),
                       .quad_stride = kv_.quad_bytes,
                       .page = page_table_[position / kPageTokens],
                       .slot = position % kPageTokens,
                       .keys = &golden.keys[row * golden.head_dim],
                       .values = &golden.values[row * golden.value_dim]});
    }
  }

  // [T, H, Ev], `chunk` tokens at a time.
  std::vector<float> Attend(int chunk) const {
    const int tokens = static_cast<int>(golden_.positions.size());
    std::vector<float> out(int64_t{tokens} * golden_.num_heads * golden_.value_dim);
    for (int first = 0; first < tokens; first += chunk)
      AttendTokens(first, std::min(chunk, tokens - first), out);
    return out;
  }

 private:
  void AttendTokens(int first, int count, std::vector<float>& out) const {
    const ScoreModifier& modifier = golden_.modifier.modifier;
    const int group = golden_.num_heads / golden_.num_kv_heads;
    const int calls = modifier.mixer.width > 0 ? 1 : golden_.num_kv_heads;
    AlignedBuffer scratch(table_.attention_scratch_bytes(kv_, golden_.num_heads, modifier.mixer.width));
    for (int g = 0; g < calls; ++g) {
      const int64_t head = int64_t{first} * golden_.num_heads + g * group;
      const auto queries = [&](int zone) {
        return golden_.queries[zone].empty() ? nullptr : &golden_.queries[zone][head * golden_.head_dim];
      };
      table_.attention({.kv = kv_,
                        .cache = cache_.data(),
                        .quad_stride = kv_.quad_bytes,
                        .page_table = page_table_.data(),
                        .kv_head = g,
                        .queries_per_token = group,
                        .num_tokens = count,
                        .first_position = golden_.positions[first],
                        .queries = queries(0),
                        .query_stride = int64_t{golden_.num_heads} * golden_.head_dim,
                        .previous_queries = queries(1),
                        .older_queries = queries(2),
                        .out = &out[head * golden_.value_dim],
                        .out_stride = int64_t{golden_.num_heads} * golden_.value_dim,
                        .scale = golden_.scale,
                        .modifier = modifier,
                        .scratch = scratch.data()});
    }
  }

  const KernelTable& table_;
  const GoldenAttention& golden_;
  KvLayout kv_;
  std::vector<int32_t> page_table_;
  AlignedBuffer cache_;
};

TEST(PositionGolden, EveryCaseOnEveryKernelSet) {
  const absl::StatusOr<std::vector<testing::GoldenCase>> cases = testing::ReadGoldenCases();
  ASSERT_OK(cases);
  ASSERT_EQ(cases->size(), 60);
  std::vector<const KernelTable*> tables = FastTables();
  tables.push_back(&RefKernels());
  for (const testing::GoldenCase& one : *cases) {
    const GoldenAttention golden = PrepareGolden(one);
    for (const KernelTable* table : tables) {
      SCOPED_TRACE(golden.name + " on " + table->name);
      const GoldenRun run(*table, golden);
      const std::vector<float> decoded = run.Attend(1);
      for (size_t i = 0; i < decoded.size(); ++i)
        ASSERT_NEAR(decoded[i], golden.out[i], 2e-6) << "element " << i;
      if (!golden.contiguous()) continue;
      for (int chunk : {3, 7, 19}) ASSERT_EQ(run.Attend(chunk), decoded) << "in chunks of " << chunk;
    }
  }
}

}  // namespace
}  // namespace ropeway::kernels
