// The kernel of warpgroups against that of mma.sync: byte for byte, and so against all that attention_test.cc holds
// that one to.
#include <gtest/gtest.h>

#include <cmath>
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

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (int length : {17, 31, 64, 65, 160, 256, 257, 520})
    cases.push_back({.kv_heads = 1, .lengths = {length}});
  for (int group : {1, 3, 4, 7}) cases.push_back({.kv_heads = 2, .group = group, .lengths = {300, 70}});
  for (int dim : {8, 40, 104, 112, 128})
    cases.push_back({.kv_heads = 1, .group = 4, .head_dim = dim, .value_dim = dim, .lengths = {290}});
  cases.push_back({.head_dim = 128, .value_dim = 64, .lengths = {100}});
  cases.push_back({.head_dim = 24, .value_dim = 128, .lengths = {100}});
  for (int window : {1, 20, 33, 200}) cases.push_back({.kv_heads = 1, .lengths = {600}, .window = window});
  cases.push_back(
      {.kv_heads = 1, .head_dim = 128, .value_dim = 128, .lengths = {300}, .window = 40, .sinks = true});
  // What warpgroups do not have goes to mma.sync.
  cases.push_back({.kv_heads = 1, .lengths = {80}, .softcap = 1.5f});
  cases.push_back({.kv_heads = 1, .lengths = {80}, .alibi = true});
  return cases;
}

TEST_P(WarpgroupCaseTest, SameBytesAsMma) {
  const AttentionProblem problem(GetParam());
  Load(problem);
  ExpectSameBytes(problem, 140 / GetParam().group);
}

INSTANTIATE_TEST_SUITE_P(Cases, WarpgroupCaseTest, testing::ValuesIn(Cases()));

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
  for (const auto& [token, bytes] : Run({{0, 230, 70}}, {.warpgroup_items = true, .warpgroups = true}))
    for (float x : FromBytes(Element::kBF16, bytes))
      EXPECT_EQ(std::isnan(x), token.second >= 279) << "position " << token.second;
}

}  // namespace
}  // namespace ropeway::cuda
