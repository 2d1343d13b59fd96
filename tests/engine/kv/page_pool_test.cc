#include "engine/kv/page_pool.h"

#include <set>
#include <vector>

#include "engine/base/splitmix.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(PagePoolTest, GivesEachPageOnce) {
  PagePool pool(4);
  EXPECT_EQ(pool.num_pages(), 4);
  EXPECT_EQ(pool.num_free(), 4);
  std::set<PageId> pages;
  while (pool.num_free() > 0) pages.insert(pool.Allocate());
  EXPECT_EQ(pages, (std::set<PageId>{0, 1, 2, 3}));
  for (const PageId page : pages) pool.DropRef(page);
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(PagePoolTest, FreesAPageWithItsLastReference) {
  PagePool pool(2);
  const PageId page = pool.Allocate();
  pool.AddRef(page);
  EXPECT_EQ(pool.ref_count(page), 2);
  pool.DropRef(page);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.ref_count(page), 1);
  pool.DropRef(page);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.ref_count(page), 0);
}

// So that whoever remembers a page finds out that it is another's by now.
TEST(PagePoolTest, CountsHowOftenAPageWasGiven) {
  PagePool pool(1);
  EXPECT_EQ(pool.num_allocations(0), 0);
  for (int times = 1; times <= 3; ++times) {
    const PageId page = pool.Allocate();
    EXPECT_EQ(pool.num_allocations(page), times);
    pool.AddRef(page);
    EXPECT_EQ(pool.num_allocations(page), times);
    pool.DropRef(page);
    pool.DropRef(page);
  }
}

TEST(PagePoolTest, GivesThePageThatWasGivenUpLast) {
  PagePool pool(8);
  const PageId first = pool.Allocate(), second = pool.Allocate();
  pool.DropRef(second);
  pool.DropRef(first);
  EXPECT_EQ(pool.Allocate(), first);
  pool.DropRef(first);
}

TEST(PagePoolTest, KeepsItsInvariantsUnderRandomUse) {
  constexpr int32_t kPages = 10;
  PagePool pool(kPages);
  std::vector<PageId> held;  // one entry for each reference
  for (uint64_t i = 0; i < 10'000; ++i) {
    const uint64_t coin = SplitMix(i);
    const size_t any = held.empty() ? 0 : (coin >> 8) % held.size();
    if (coin % 3 == 0 && pool.num_free() > 0) {
      held.push_back(
          pool.Allocate(static_cast<int32_t>(coin >> 40 & 63), held.empty() ? PagePool::kNone : held[any]));
    } else if (coin % 3 == 1 && !held.empty() && held.size() < 50) {
      pool.AddRef(held[any]);
      held.push_back(held[any]);
    } else if (!held.empty()) {
      pool.DropRef(held[any]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(any));
    }
    pool.CheckInvariants();
    ASSERT_EQ(pool.num_free(),
              kPages - static_cast<int32_t>(std::set<PageId>(held.begin(), held.end()).size()));
  }
  for (const PageId page : held) pool.DropRef(page);
}

constexpr PrefixKey KeyNumber(uint64_t i) { return {i, i}; }

TEST(PagePoolTest, FindsAPublishedPageUntilItIsNeeded) {
  PagePool pool(2);
  const PageId page = pool.Allocate();
  pool.Publish(page, KeyNumber(1));
  pool.Publish(page, KeyNumber(2));  // has a name
  EXPECT_EQ(pool.Find(KeyNumber(1)), page);
  EXPECT_EQ(pool.Find(KeyNumber(2)), std::nullopt);
  pool.DropRef(page);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.num_idle(), 1);
  pool.CheckInvariants();
  pool.AddRef(*pool.Find(KeyNumber(1)));
  EXPECT_EQ(pool.num_idle(), 0);
  EXPECT_EQ(pool.ref_count(page), 1);
  pool.DropRef(page);
  const PageId other = pool.Allocate();  // the free one comes first
  EXPECT_NE(other, page);
  EXPECT_EQ(pool.num_evictions(), 0);
  EXPECT_EQ(pool.Allocate(), page);
  EXPECT_EQ(pool.num_evictions(), 1);
  EXPECT_EQ(pool.Find(KeyNumber(1)), std::nullopt);
  pool.CheckInvariants();
  pool.DropRef(page);
  pool.DropRef(other);
}

// One page in each quad is published, and the others are held.
TEST(PagePoolTest, EvictsWhatWasGivenUpFirst) {
  constexpr int32_t kPages = 4 * kQuadPages;
  PagePool pool(kPages);
  std::vector<PageId> published;
  for (int32_t i = 0; i < kPages; ++i) {
    const PageId page = pool.Allocate(i);
    if (page % kQuadPages != 0) continue;
    pool.Publish(page, KeyNumber(published.size()));
    published.push_back(page);
  }
  for (const int i : {2, 0, 3, 1}) pool.DropRef(published[i]);
  const PageId used = published[0];  // is used again, and so the last to go
  pool.AddRef(used);
  pool.DropRef(used);
  for (const int gone : {2, 3, 1, 0}) {
    EXPECT_EQ(pool.Allocate(), published[gone]);
    EXPECT_EQ(pool.Find(KeyNumber(gone)), std::nullopt);
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.num_evictions(), 4);
  for (PageId id = 0; id < kPages; ++id) pool.DropRef(id);
}

// Pages of sequences that grow in turn follow each other, each in runs of its own.
TEST(PagePoolTest, PagesOfASequenceFollowEachOther) {
  constexpr int32_t kSequences = 3, kPages = 4 * kRunPages;
  PagePool pool(kPages);
  std::vector<std::vector<PageId>> pages(kSequences);
  for (int32_t i = 0; i < kRunPages; ++i)
    for (auto& sequence : pages)
      sequence.push_back(pool.Allocate(i, sequence.empty() ? PagePool::kNone : sequence.back()));
  for (const auto& sequence : pages)
    for (int32_t i = 0; i < kRunPages; ++i) {
      EXPECT_EQ(sequence[i], sequence[0] + i);
      pool.DropRef(sequence[i]);
    }
}

// A sequence that begins with pages of others lies in its quads as if they were its own.
TEST(PagePoolTest, PlacesInQuadsAreThoseInTheSequence) {
  PagePool pool(3 * kRunPages);
  const PageId shared = pool.Allocate();
  const PageId own = pool.Allocate(1, shared);
  EXPECT_EQ(own, shared + 1) << "behind its last page";
  const PageId other = pool.Allocate(7, own);
  EXPECT_EQ(other % kRunPages, 7) << "behind its last page there would be another place of a quad";
  for (const PageId page : {shared, own, other}) pool.DropRef(page);
}

// Where all is idle, quads go as a whole, so that those who grow in turn have one each.
TEST(PagePoolTest, EvictsQuads) {
  constexpr int32_t kPages = 4 * kQuadPages;
  PagePool pool(kPages);
  for (int32_t i = 0; i < kPages; ++i) pool.Publish(pool.Allocate(i), KeyNumber(i));
  for (PageId id = kPages - 1; id >= 0; --id) pool.DropRef(id);  // as sequences give up theirs
  EXPECT_EQ(pool.num_idle(), kPages);
  std::vector<PageId> first, second;
  for (int32_t i = 0; i < kQuadPages; ++i) {
    first.push_back(pool.Allocate(i, first.empty() ? PagePool::kNone : first.back()));
    second.push_back(pool.Allocate(i, second.empty() ? PagePool::kNone : second.back()));
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.num_evictions(), 2 * kQuadPages);
  for (int32_t i = 0; i < kQuadPages; ++i) {
    EXPECT_EQ(first[i], kPages - kQuadPages + i);
    EXPECT_EQ(second[i], kPages - 2 * kQuadPages + i);
    pool.DropRef(first[i]);
    pool.DropRef(second[i]);
  }
}

// Of which as many go as the sequence is about to need, and it reads them upwards.
TEST(PagePoolTest, PagesThatTakeThePlaceOfIdleOnesFollowEachOther) {
  constexpr int32_t kPages = 8 * kQuadPages, kWanted = 3 * kQuadPages - 1;
  PagePool pool(kPages);
  for (int32_t i = 0; i < kPages; ++i) {
    const PageId page = pool.Allocate(i);
    pool.Publish(page, KeyNumber(page));
  }
  const PageId used = 4 * kQuadPages;  // a quad that is used once more after the others
  for (PageId id = kPages - 1; id >= 0; --id)
    if (id / kQuadPages != used / kQuadPages) pool.DropRef(id);
  for (PageId id = used; id < used + kQuadPages; ++id) pool.DropRef(id);
  std::vector<PageId> pages;
  for (int32_t i = 0; i < kWanted; ++i) {
    pages.push_back(pool.Allocate(i, pages.empty() ? PagePool::kNone : pages.back(), kWanted - i - 1));
    EXPECT_EQ(pages[i], kPages - 3 * kQuadPages + i);
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.num_evictions(), 3 * kQuadPages);
  const PageId own = pool.Allocate(kQuadPages, PagePool::kNone, kPages);
  EXPECT_EQ(own, 0) << "all that is left goes, but for what was used";
  EXPECT_EQ(pool.num_idle(), kQuadPages);
  EXPECT_EQ(pool.Find(KeyNumber(used)), used);
  pages.push_back(own);
  for (const PageId page : pages) pool.DropRef(page);
}

TEST(PagePoolTest, ForgetsAPageThatWasWithdrawn) {
  PagePool pool(1);
  const PageId page = pool.Allocate();
  pool.Publish(page, KeyNumber(1));
  pool.Withdraw(page);
  EXPECT_EQ(pool.Find(KeyNumber(1)), std::nullopt);
  pool.DropRef(page);
  EXPECT_EQ(pool.num_idle(), 0);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PagePoolTest, APageThatIsWithdrawnWhileNobodyHoldsItIsFree) {
  PagePool pool(3);
  PageId pages[3];
  for (PageId& page : pages) {
    page = pool.Allocate();
    pool.Publish(page, KeyNumber(static_cast<uint64_t>(page)));
  }
  for (const PageId page : pages) pool.DropRef(page);
  for (const int withdrawn : {1, 0, 2}) {  // from the middle and both ends of those that wait
    pool.Withdraw(pages[withdrawn]);
    EXPECT_EQ(pool.Find(KeyNumber(static_cast<uint64_t>(pages[withdrawn]))), std::nullopt);
    EXPECT_EQ(pool.num_free(), 3);
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.num_idle(), 0);
  EXPECT_EQ(pool.num_evictions(), 0);
}

TEST(PagePoolDeathTest, DiesOfMisuse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PagePool pool(1);
  EXPECT_DEATH(pool.DropRef(0), "ref_counts_");
  EXPECT_DEATH(pool.AddRef(0), "index_.Contains");
  const PageId page = pool.Allocate();
  EXPECT_DEATH(pool.Allocate(), "num_free");
  pool.DropRef(page);
}

}  // namespace
}  // namespace ropeway
