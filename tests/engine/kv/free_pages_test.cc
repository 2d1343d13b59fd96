#include "engine/kv/free_pages.h"

#include <optional>
#include <vector>

#include "engine/base/splitmix.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(NumberSetTest, ForgetsWhatIsRemoved) {
  NumberSet numbers(5);
  for (const int32_t number : {4, 0, 2}) numbers.Insert(number);
  numbers.Remove(4);
  EXPECT_FALSE(numbers.Contains(4));
  EXPECT_TRUE(numbers.Contains(0) && numbers.Contains(2));
  numbers.Remove(2);
  EXPECT_EQ(numbers.last(), 0);
  numbers.Remove(0);
  EXPECT_TRUE(numbers.empty());
}

TEST(FreePagesTest, RunsAreWholeOrNotThere) {
  FreePages pages(2 * kRunPages + 5);
  EXPECT_EQ(pages.OfWholeRun(0), 0);
  EXPECT_EQ(pages.OfWholeRun(kRunPages + 7), 7);
  pages.Remove(3);
  EXPECT_EQ(pages.OfWholeRun(1), kRunPages + 1);
  pages.Remove(kRunPages);
  EXPECT_EQ(pages.OfWholeRun(0), std::nullopt) << "the last five are no run";
  pages.Insert(3);
  EXPECT_EQ(pages.OfWholeRun(0), 0);
  pages.CheckInvariants();
}

TEST(FreePagesTest, QuadsAreFoundAmongBrokenRuns) {
  FreePages pages(12);
  for (const PageId id : {1, 6, 8}) pages.Remove(id);
  EXPECT_EQ(pages.OfWholeQuad(0), std::nullopt);
  pages.Insert(6);
  EXPECT_EQ(pages.OfWholeQuad(2), 6);
  EXPECT_EQ(pages.OfWholeQuad(7), 7);
}

TEST(FreePagesTest, KeepsItsInvariantsUnderRandomUse) {
  constexpr int32_t kPages = 70;
  FreePages pages(kPages);
  for (uint64_t i = 0; i < 10'000; ++i) {
    const auto id = static_cast<PageId>(SplitMix(i) % kPages);
    pages.Contains(id) ? pages.Remove(id) : pages.Insert(id);
    if (i % 100 == 0) pages.CheckInvariants();
  }
}

}  // namespace
}  // namespace ropeway
