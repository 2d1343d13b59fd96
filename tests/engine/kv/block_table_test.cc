#include "engine/kv/block_table.h"

#include <vector>

#include "engine/api/step.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;

TEST(PagesForTest, RoundsUp) {
  EXPECT_EQ(PagesFor(0), 0);
  EXPECT_EQ(PagesFor(1), 1);
  EXPECT_EQ(PagesFor(kPageTokens), 1);
  EXPECT_EQ(PagesFor(kPageTokens + 1), 2);
}

TEST(MaxPagesOfTest, SamplesShareThePromptsFullPagesAndTheLastTokenNeedsNone) {
  const auto pages = [](size_t prompt_tokens, int32_t max_tokens, int32_t num_samples) {
    return MaxPagesOf({.prompt = std::vector<TokenId>(prompt_tokens),
                       .max_tokens = max_tokens,
                       .num_samples = num_samples});
  };
  EXPECT_EQ(pages(10, 6, 1), 1);
  EXPECT_EQ(pages(10, 7, 1), 1);
  EXPECT_EQ(pages(10, 8, 1), 2);
  EXPECT_EQ(pages(16, 1, 4), 1);
  EXPECT_EQ(pages(16, 2, 4), 1 + 4);
  EXPECT_EQ(pages(40, 9, 3), 2 + 3);
  EXPECT_EQ(pages(40, 10, 3), 2 + 3 * 2);
}

TEST(BlockTableTest, GrowsAndGivesUpItsPages) {
  PagePool pool(4);
  {
    BlockTable table(pool);
    table.GrowTo(2);
    table.GrowTo(1);  // never shrinks
    EXPECT_EQ(table.size(), 2);
    EXPECT_EQ(pool.num_free(), 2);
    table.GrowTo(3);
    EXPECT_EQ(pool.num_free(), 1);
    table.Clear();
    EXPECT_EQ(table.size(), 0);
    EXPECT_EQ(pool.num_free(), 4);
    table.GrowTo(4);
  }
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockTableTest, KeepsThePagesThatItHasWhenItGrows) {
  PagePool pool(4);
  BlockTable table(pool);
  table.GrowTo(2);
  const std::vector<PageId> before(table.pages().begin(), table.pages().end());
  table.GrowTo(4);
  EXPECT_THAT(table.pages().subspan(0, 2), ElementsAre(before[0], before[1]));
}

TEST(BlockTableTest, SharesTheBeginningOfAnother) {
  PagePool pool(4);
  BlockTable table(pool);
  table.GrowTo(3);
  {
    BlockTable other(pool);
    other.ShareFrom(table, 2);
    EXPECT_THAT(other.pages(), ElementsAre(table.pages()[0], table.pages()[1]));
    EXPECT_EQ(pool.num_free(), 1);
    EXPECT_TRUE(table.IsShared(0));
    EXPECT_TRUE(other.IsShared(1));
    EXPECT_FALSE(table.IsShared(2));
    other.GrowTo(3);
    EXPECT_NE(other.pages()[2], table.pages()[2]);
  }
  EXPECT_FALSE(table.IsShared(0));
  EXPECT_EQ(pool.num_free(), 1);
}

// A shared page outlives the table that it came from.
TEST(BlockTableTest, HoldsSharedPagesAlone) {
  PagePool pool(2);
  BlockTable other(pool);
  {
    BlockTable table(pool);
    table.GrowTo(2);
    other.ShareFrom(table, 1);
  }
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_FALSE(other.IsShared(0));
}

TEST(BlockTableTest, DetachesASharedPage) {
  PagePool pool(4);
  BlockTable table(pool), other(pool);
  table.GrowTo(2);
  other.ShareFrom(table, 2);
  const PageId shared = other.pages()[1];
  const PageCopy copy = other.Detach(1);
  EXPECT_EQ(copy.from, shared);
  EXPECT_EQ(copy.to, other.pages()[1]);
  EXPECT_NE(copy.to, shared);
  EXPECT_EQ(table.pages()[1], shared);
  EXPECT_FALSE(table.IsShared(1));
  EXPECT_TRUE(table.IsShared(0));
  EXPECT_EQ(pool.num_free(), 1);
}

}  // namespace
}  // namespace ropeway
