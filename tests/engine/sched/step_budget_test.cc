#include "engine/sched/step_budget.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/base/splitmix.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SharePrefillBudgetTest, GivesTheOldestHalfAndTheLastTheRest) {
  EXPECT_THAT(SharePrefillBudget({1000, 1000, 1000}, 100), ElementsAre(50, 25, 25));
  EXPECT_THAT(SharePrefillBudget({1000}, 100), ElementsAre(100));
  EXPECT_THAT(SharePrefillBudget({1000, 1000}, 101), ElementsAre(51, 50));
}

TEST(SharePrefillBudgetTest, GivesWhatIsOverToTheOldest) {
  EXPECT_THAT(SharePrefillBudget({1000, 10, 10}, 100), ElementsAre(80, 10, 10));
  EXPECT_THAT(SharePrefillBudget({10, 1000, 10}, 100), ElementsAre(10, 80, 10));
  EXPECT_THAT(SharePrefillBudget({60, 1000, 1}, 100), ElementsAre(60, 39, 1));
}

TEST(SharePrefillBudgetTest, TakesSmallBudgets) {
  EXPECT_THAT(SharePrefillBudget({}, 100), IsEmpty());
  EXPECT_THAT(SharePrefillBudget({5, 5, 5}, 0), ElementsAre(0, 0, 0));
  EXPECT_THAT(SharePrefillBudget({5, 5, 5}, 1), ElementsAre(1, 0, 0));
  EXPECT_THAT(SharePrefillBudget({5, 5, 5}, 2), ElementsAre(1, 1, 0));
}

TEST(SharePrefillBudgetTest, SpendsAllThatCanBeSpent) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::vector<int32_t> remaining(1 + SplitMix(seed) % 8);
    for (size_t i = 0; i < remaining.size(); ++i)
      remaining[i] = 1 + static_cast<int32_t>(SplitMix(seed * 100 + i) % 300);
    const int32_t budget = static_cast<int32_t>(SplitMix(seed + 7) % 600);
    const std::vector<int32_t> chunks = SharePrefillBudget(remaining, budget);
    ASSERT_EQ(chunks.size(), remaining.size());
    for (size_t i = 0; i < chunks.size(); ++i) {
      EXPECT_GE(chunks[i], 0);
      EXPECT_LE(chunks[i], remaining[i]);
    }
    EXPECT_EQ(std::accumulate(chunks.begin(), chunks.end(), 0),
              std::min(budget, std::accumulate(remaining.begin(), remaining.end(), 0)));
    EXPECT_GE(chunks[0], std::min(remaining[0], (budget + 1) / 2));
  }
}

}  // namespace
}  // namespace ropeway
