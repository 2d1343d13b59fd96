// The kernels that copy in bulk, of prompts by warpgroups and of decoded tokens, against that by cp.async: byte for byte,
// and so against all that attention_test.cc holds that one to.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/attention_steps.h"

namespace ropeway::cuda {
namespace {

class WarpgroupAttentionTest : public AttentionTest {
 protected:
  WarpgroupAttentionTest() : AttentionTest(TestDevice::kWithWarpgroups) {}

  // Whole and split into all chunks, by both kernels.
  void ExpectSameBytes(const AttentionProblem& problem, int tokens) {
    const std::vector<Row> rows = Prompts(problem, tokens);
    const Outputs expected = Run(rows, {});
    EXPECT_EQ(Run(rows, {.warpgroup_items = true}), expected);
    EXPECT_EQ(Run(rows, {.blocks = 2, .warpgroup_items = true, .warpgroups = true}), expected);
    ASSERT_FALSE(plan_.wide.empty());
    EXPECT_TRUE(plan_.merges.empty());
    for (const bool warpgroups : {false, true}) {
      const Division split{
          .processors = 1000, .split = true, .window = 0, .warpgroup_items = true, .warpgroups = warpgroups};
      EXPECT_EQ(Run(rows, split), expected);
    }
  }
};

class WarpgroupCaseTest : public WarpgroupAttentionTest, public testing::WithParamInterface<AttentionCase> {};

// The same of f16.
void AddHalves(std::vector<AttentionCase> halves, std::vector<AttentionCase>& cases) {
  for (AttentionCase& c : halves) {
    c.element = Element::kF16;
    c.kv = KvElement::kF16;
    cases.push_back(c);
  }
}

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (int length : {17, 31, 63, 64, 65, 80, 95, 96, 160, 256, 257, 520})
    cases.push_back({.kv_heads = 1, .lengths = {length}});
  for (int group : {1, 3, 4, 7}) cases.push_back({.kv_heads = 2, .group = group, .lengths = {300, 70}});
  for (int dim : {8, 40, 104, 112, 128})
    cases.push_back({.kv_heads = 1, .group = 4, .head_dim = dim, .value_dim = dim, .lengths = {290}});
  cases.push_back({.head_dim = 128, .value_dim = 64, .lengths = {100}});
  cases.push_back({.head_dim = 16, .value_dim = 128, .lengths = {100}});
  for (int window : {1, 20, 33, 200}) cases.push_back({.kv_heads = 1, .lengths = {600}, .window = window});
  cases.push_back(
      {.kv_heads = 1, .head_dim = 128, .value_dim = 128, .lengths = {300}, .window = 40, .sinks = true});
  // What warpgroups do not have goes to mma.sync.
  cases.push_back({.kv_heads = 1, .lengths = {80}, .softcap = 1.5f});
  cases.push_back({.kv_heads = 1, .lengths = {80}, .alibi = true});
  AddHalves(
      {{.group = 3, .lengths = {300, 70}},
       {.kv_heads = 1, .head_dim = 104, .value_dim = 104, .lengths = {290}},
       {.kv_heads = 1, .head_dim = 128, .value_dim = 128, .lengths = {300}, .window = 40, .sinks = true}},
      cases);
  return cases;
}

TEST_P(WarpgroupCaseTest, SameBytesAsMma) {
  const AttentionProblem problem(GetParam());
  Load(problem);
  ExpectSameBytes(problem, 140 / GetParam().group);
}

INSTANTIATE_TEST_SUITE_P(Cases, WarpgroupCaseTest, testing::ValuesIn(Cases()));

// Few tokens, of narrow items: whole and split into all chunks.
class DecodeCaseTest : public WarpgroupAttentionTest, public testing::WithParamInterface<AttentionCase> {
 protected:
  void ExpectSameBytes(const std::vector<Row>& rows) {
    const Outputs expected = Run(rows, {});
    for (const int blocks : {1, 2, 40})
      EXPECT_EQ(Run(rows, {.blocks = blocks, .warpgroup_items = true, .warpgroups = true}), expected);
    EXPECT_TRUE(plan_.wide.empty());
    const Division split{
        .processors = 1000, .split = true, .window = 0, .warpgroup_items = true, .warpgroups = true};
    EXPECT_EQ(Run(rows, split), expected);
  }
};

std::vector<AttentionCase> DecodeCases() {
  std::vector<AttentionCase> cases;
  for (int length : {1, 16, 17, 63, 64, 65, 255, 256, 257, 300, 700})
    cases.push_back({.kv_heads = 1, .lengths = {length}});
  for (int group : {1, 3, 8, 16}) cases.push_back({.kv_heads = 2, .group = group, .lengths = {300, 70, 5}});
  for (int dim : {8, 40, 104, 112, 128})
    cases.push_back({.kv_heads = 1, .group = 4, .head_dim = dim, .value_dim = dim, .lengths = {290, 20}});
  cases.push_back({.head_dim = 128, .value_dim = 64, .lengths = {100}});
  cases.push_back({.head_dim = 16, .value_dim = 128, .lengths = {100}});
  for (int window : {1, 20, 33, 200})
    cases.push_back({.kv_heads = 1, .lengths = {600, 40}, .window = window});
  cases.push_back({.kv_heads = 1, .lengths = {300, 2}, .window = 40, .sinks = true});
  cases.push_back({.kv_heads = 1, .lengths = {80}, .softcap = 1.5f});
  cases.push_back({.kv_heads = 1, .lengths = {80}, .alibi = true});
  AddHalves(
      {{.group = 3, .lengths = {300, 70, 5}},
       {.kv_heads = 1, .group = 4, .head_dim = 104, .value_dim = 104, .lengths = {290, 20}},
       {.kv_heads = 1, .head_dim = 128, .value_dim = 128, .lengths = {300}, .window = 40, .sinks = true}},
      cases);
  return cases;
}

TEST_P(DecodeCaseTest, SameBytesAsByCpAsync) {
  const AttentionProblem problem(GetParam());
  Load(problem);
  ExpectSameBytes(Prompts(problem, 1));
  if (GetParam().group <= 4) ExpectSameBytes(Prompts(problem, 16 / GetParam().group));
}

INSTANTIATE_TEST_SUITE_P(Cases, DecodeCaseTest, testing::ValuesIn(DecodeCases()));

// On processors for each item, or on one that has them all.
Division ByWarpgroups(bool split) {
  return {.processors = split ? 1000 : 1,
          .split = split,
          .blocks = 2,
          .warpgroup_items = true,
          .warpgroups = true};
}

// Of a decoded token only what is older is read before the kernel in front has ended.
TEST_F(WarpgroupAttentionTest, TheKernelInFrontWritesTheNewTokens) {
  for (const int length : {1, 64, 65, 130, 300, 513}) {
    const AttentionCase shape{.kv_heads = 2, .group = 2, .lengths = {length, 70}};
    const AttentionProblem problem(shape);
    AttentionProblem before(shape);
    const int tokens = std::min(length, 5);
    const std::vector<Row> rows = {{0, length - tokens, tokens}, {1, 69, 1}};
    for (const Row& row : rows)
      for (int position = row.first_position; position < row.first_position + row.tokens; ++position) {
        before.PoisonKey(row.sequence, position);
        before.PoisonValue(row.sequence, position);
      }
    Load(problem);
    const Outputs expected = Run(rows, {});
    for (const bool split : {false, true}) {
      Load(before);
      Bring(problem);
      EXPECT_EQ(Run(rows, ByWarpgroups(split)), expected) << length << ' ' << split;
    }
  }
}

// And queries only behind it.
TEST_F(WarpgroupAttentionTest, TheKernelInFrontWritesTheQueries) {
  for (const Element element : {Element::kBF16, Element::kF16}) {
    const AttentionProblem problem({.element = element,
                                    .kv = element == Element::kF16 ? KvElement::kF16 : KvElement::kBF16,
                                    .kv_heads = 2,
                                    .group = 2,
                                    .lengths = {300, 70}});
    Load(problem);
    for (const int tokens : {1, 5, 40}) {
      const std::vector<Row> rows = Prompts(problem, tokens);
      BringQueries(false);
      const Outputs expected = Run(rows, {});
      BringQueries(true);
      for (const bool split : {false, true})
        EXPECT_EQ(Run(rows, ByWarpgroups(split)), expected) << tokens << ' ' << split;
    }
  }
}

// More chunks than a warp merges at once.
TEST_F(WarpgroupAttentionTest, ManyChunksAreMerged) {
  const int length = 35 * kChunkTokens + 9;
  const AttentionProblem problem(
      {.kv_heads = 1, .group = 1, .head_dim = 8, .value_dim = 8, .lengths = {length}});
  Load(problem);
  const std::vector<Row> rows = {{0, length - 1, 1}};
  const Outputs expected = Run(rows, {});
  for (const bool in_bulk : {false, true})
    EXPECT_EQ(
        Run(rows, {.processors = 1000, .split = true, .warpgroup_items = in_bulk, .warpgroups = in_bulk}),
        expected);
  EXPECT_EQ(plan_.merges.size(), 1u);
}

// More tiles than there are slots, several times over, by one block: task after task finds the ring where the one before
// left it. Whole items and split ones, which meet all threads of the block at their ends, in one step.
TEST_F(WarpgroupAttentionTest, TheRingGoesOnFromTaskToTask) {
  const AttentionProblem problem(
      {.kv_heads = 2, .group = 2, .head_dim = 32, .value_dim = 32, .lengths = {700, 40, 129, 333}});
  Load(problem);
  const std::vector<Row> rows = Prompts(problem, 90);
  const Outputs expected = Run(rows, {});
  for (const bool split : {false, true})
    for (const int blocks : {1, 2, 7})
      EXPECT_EQ(Run(rows, {.processors = split ? 6 : 1,
                           .split = split,
                           .blocks = blocks,
                           .warpgroup_items = true,
                           .warpgroups = true}),
                expected)
          << split << ' ' << blocks;
}

// A prompt in parts, and decoded tokens between them, which mma.sync has: one sequence, the same bytes.
TEST_F(WarpgroupAttentionTest, MeetsMmaWithinASequence) {
  const AttentionProblem problem({.kv_heads = 1, .group = 4, .lengths = {230}});
  Load(problem);
  const Outputs expected = Run({{0, 0, 230}}, {});
  Outputs got;
  for (const Row& row :
       std::vector<Row>{{0, 0, 37}, {0, 37, 3}, {0, 40, 1}, {0, 41, 100}, {0, 141, 4}, {0, 145, 85}})
    got.merge(Run({row}, {.warpgroup_items = true, .warpgroups = true}));
  EXPECT_EQ(got, expected);
}

// What lies behind a prompt's last key in the same page, of later tokens or of nobody, is no part of it.
TEST_F(WarpgroupAttentionTest, NothingBehindTheLastKeyIsRead) {
  for (const int dim : {64, 104}) {
    AttentionProblem problem({.kv_heads = 1, .head_dim = dim, .value_dim = dim, .lengths = {320}});
    for (int position = 281; position < 320; ++position) {
      problem.PoisonKey(0, position);
      problem.PoisonValue(0, position);
    }
    Load(problem);
    for (const auto& [length, tokens] : std::vector<std::pair<int, int>>{
             {257, 80}, {270, 80}, {272, 80}, {273, 80}, {281, 80}, {257, 1}, {265, 4}, {272, 1}})
      for (const auto& [token, bytes] :
           Run({{0, length - tokens, tokens}}, {.warpgroup_items = true, .warpgroups = true}))
        for (float x : FromBytes(Element::kBF16, bytes))
          ASSERT_FALSE(std::isnan(x))
              << "dim " << dim << " length " << length << " position " << token.second;
  }
}

// Heads of whose pages no map can be made are mma.sync's.
TEST_F(WarpgroupAttentionTest, HeadsThatFit) {
  const auto fit = [](int head_dim, int value_dim) {
    return WarpgroupsFit(Element::kBF16, KvElement::kBF16, head_dim, value_dim);
  };
  EXPECT_TRUE(fit(8, 8) && fit(40, 40) && fit(64, 64) && fit(104, 104) && fit(128, 64) && fit(64, 128));
  EXPECT_FALSE(fit(24, 128));
  EXPECT_FALSE(fit(128, 40));
  EXPECT_FALSE(fit(96, 96));
  EXPECT_TRUE(WarpgroupsFit(Element::kF16, KvElement::kF16, 64, 64));
  EXPECT_FALSE(WarpgroupsFit(Element::kF16, KvElement::kBF16, 64, 64));
  EXPECT_FALSE(WarpgroupsFit(Element::kBF16, KvElement::kFp8E4M3, 64, 64));
  KvMaps maps;
  uint8_t* data = Allocate<uint8_t>(1 << 16);
  for (const int heads : {1, 3})
    for (int head_dim = 8; head_dim <= 128; head_dim += 8)
      for (int value_dim = 8; value_dim <= 128; value_dim += 8)
        if (fit(head_dim, value_dim))
          Check(MakeKvMaps(
              runtime(), {.num_kv_heads = heads, .head_dim = head_dim, .value_dim = value_dim, .data = data},
              2, &maps));
}

TEST_F(WarpgroupAttentionTest, AgainstThePlainComputation) {
  const AttentionProblem problem(
      {.kv_heads = 1, .group = 2, .head_dim = 128, .value_dim = 128, .lengths = {330}});
  Load(problem);
  ExpectNear(problem, Run(Prompts(problem, 70), {.warpgroup_items = true, .warpgroups = true}));
}

// A key that is no number shows in the tokens that see it, and in no other.
TEST_F(WarpgroupAttentionTest, NotANumberStaysVisible) {
  AttentionProblem problem({.kv_heads = 1, .lengths = {300}});
  problem.PoisonKey(0, 279);
  Load(problem);
  for (const Row& row : std::vector<Row>{{0, 230, 70}, {0, 276, 6}})
    for (const auto& [token, bytes] : Run({row}, {.warpgroup_items = true, .warpgroups = true}))
      for (float x : FromBytes(Element::kBF16, bytes))
        EXPECT_EQ(std::isnan(x), token.second >= 279) << "position " << token.second;
}

}  // namespace
}  // namespace ropeway::cuda
