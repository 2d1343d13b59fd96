#include "engine/exec/cuda/warm_up.h"

#include <algorithm>

#include "tests/testing/fake_executor.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

// The fake checks every plan against its limits.
void ExpectSteps(const ExecutorLimits& limits, int32_t max_bucket, size_t expected_steps) {
  FakeExecutor executor(limits);
  const WarmUp warm_up(limits, max_bucket);
  EXPECT_EQ(warm_up.plans().size(), expected_steps);
  for (const StepPlan& plan : warm_up.plans()) EXPECT_OK(executor.Step(plan).status());
}

TEST(WarmUpTest, HasAPromptAndTheBatchSizesThatBecomeGraphs) {
  const ExecutorLimits limits{.num_pages = 1000,
                              .max_tokens_per_step = 2048,
                              .max_rows_per_step = 256,
                              .max_model_len = 8192,
                              .vocab_size = 100};
  ExpectSteps(limits, 256, 1 + 9);
  ExpectSteps(limits, 100, 1 + 7);
  ExpectSteps(limits, 0, 1 + 1);
  const WarmUp warm_up(limits, 256);
  EXPECT_GT(warm_up.plans()[0].num_tokens(), 16);
  EXPECT_EQ(warm_up.plans().back().num_rows(), 256);
  EXPECT_EQ(warm_up.plans().back().page_tables[7].size(), 64u);
}

TEST(WarmUpTest, KeepsWithinTheSmallestLimits) {
  ExpectSteps(
      {.num_pages = 1, .max_tokens_per_step = 1, .max_rows_per_step = 1, .max_model_len = 1, .vocab_size = 1},
      1, 1 + 1);
  ExpectSteps({.num_pages = 3,
               .max_tokens_per_step = 64,
               .max_rows_per_step = 8,
               .max_model_len = 48,
               .vocab_size = 5},
              256, 1 + 2);
}

}  // namespace
}  // namespace ropeway::testing
