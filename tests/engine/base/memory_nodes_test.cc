#include "engine/base/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "engine/base/machine.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

// The policy of this thread, and the first word of its nodes.
std::pair<int, unsigned long> Policy() {
  int policy = -1;
  unsigned long nodes[16] = {};
  EXPECT_EQ(syscall(SYS_get_mempolicy, &policy, nodes, 1025ul, nullptr, 0ul), 0);
  return {policy, nodes[0]};
}

TEST(MemoryNodesTest, AreTakenInTurnUntilThatEnds) {
  const std::vector<int> nodes = LookAtMachine().nodes;
  if (nodes.empty() || !TakeMemoryInTurn({}).ok())
    GTEST_SKIP() << "this system has no nodes, or does not let us choose";
  unsigned long mask = 0;
  for (const int node : nodes)
    if (node < 64) mask |= 1ul << node;
  ASSERT_OK(TakeMemoryInTurn(nodes));
  EXPECT_EQ(Policy(), (std::pair<int, unsigned long>{MPOL_INTERLEAVE, mask}));
  ASSERT_OK(TakeMemoryInTurn({}));
  EXPECT_EQ(Policy().first, MPOL_DEFAULT);
}

TEST(MemoryNodesTest, ANodeThatIsNotThereIsAnError) {
  if (!TakeMemoryInTurn({}).ok()) GTEST_SKIP() << "this system does not let us choose";
  if (LookAtMachine().all_nodes >= 1023) GTEST_SKIP() << "all nodes are there";
  EXPECT_THAT(TakeMemoryInTurn({1023}), testing::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("set_mempolicy")));
  EXPECT_EQ(Policy().first, MPOL_DEFAULT);
}

}  // namespace
}  // namespace ropeway
