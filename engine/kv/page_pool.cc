#include "engine/kv/page_pool.h"

#include <algorithm>

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"
#include "engine/base/quad_pages.h"

namespace ropeway {
namespace {

constexpr PageId FirstOfQuad(PageId id) { return id / kQuadPages * kQuadPages; }

}  // namespace

PagePool::PagePool(int32_t num_pages)
    : ref_counts_(num_pages),
      allocations_(num_pages),
      free_(num_pages),
      idle_(num_pages),
      index_(num_pages) {}

PagePool::~PagePool() { ROPEWAY_CHECK(num_free() == num_pages()); }

PageId PagePool::Allocate(int32_t index, PageId previous, int32_t more) {
  ROPEWAY_CHECK(num_free() > 0);
  const PageId id = Choose(index, previous, more);
  free_.Remove(id);
  ref_counts_[id] = 1;
  ++allocations_[id];
  return id;
}

// A free page; idle ones become free where there is no better one.
PageId PagePool::Choose(int32_t index, PageId previous, int32_t more) {
  const PageId behind = previous + 1;
  const bool has_place =
      previous != kNone && behind < num_pages() && behind % kQuadPages == index % kQuadPages;
  if (has_place && free_.Contains(behind)) return behind;
  if (const auto id = free_.OfWholeRun(index)) return *id;
  if (const auto id = free_.OfWholeQuad(index)) return *id;
  if (oldest_idle_ != kNone) {
    const PageId first = FirstOfQuad(oldest_idle_);
    const int32_t place = index % kQuadPages;
    if (IsUnheldQuad(first)) return EvictQuads(first, CeilDiv(place + 1 + more, kQuadPages)) + place;
    if (free_.size() == 0) Evict(oldest_idle_);
  }
  return free_.any();
}

// Evicts what is idle of the quad that begins at `last` and of those before it, `count` in all, as long as the oldest page is in
// the next one of them: a sequence gives up its pages from the end, so that these are the oldest, and who takes them reads
// them upwards. Returns where the first of them begins. REQUIRES: nobody holds any of that quad.
PageId PagePool::EvictQuads(PageId last, int32_t count) {
  PageId first = last;
  for (;; first -= kQuadPages) {
    for (PageId id = first; id < first + kQuadPages; ++id)
      if (!free_.Contains(id)) Evict(id);
    const PageId before = first - kQuadPages;
    const bool follows = oldest_idle_ != kNone && FirstOfQuad(oldest_idle_) == before && IsUnheldQuad(before);
    if (--count == 0 || !follows) return first;
  }
}

bool PagePool::IsUnheldQuad(PageId first) const {
  if (first + kQuadPages > num_pages()) return false;
  const int32_t* counts = &ref_counts_[first];
  return std::all_of(counts, counts + kQuadPages, [](int32_t count) { return count == 0; });
}

void PagePool::Evict(PageId id) {
  RemoveIdle(id);
  index_.Erase(id);
  free_.Insert(id);
  ++num_evictions_;
}

void PagePool::AddRef(PageId id) {
  if (ref_counts_[id] == 0) {
    ROPEWAY_CHECK(index_.Contains(id));
    RemoveIdle(id);
  }
  ++ref_counts_[id];
}

void PagePool::DropRef(PageId id) {
  ROPEWAY_CHECK(ref_counts_[id] > 0);
  if (--ref_counts_[id] > 0) return;
  if (index_.Contains(id))
    AppendIdle(id);
  else
    free_.Insert(id);
}

void PagePool::Publish(PageId id, const PrefixKey& key) {
  ROPEWAY_CHECK(ref_counts_[id] > 0);
  if (!index_.Contains(id)) index_.Insert(key, id);
}

void PagePool::Withdraw(PageId id) {
  if (!index_.Contains(id)) return;
  index_.Erase(id);
  if (ref_counts_[id] > 0) return;
  RemoveIdle(id);
  free_.Insert(id);
}

void PagePool::AppendIdle(PageId id) {
  idle_[id] = {.older = newest_idle_};
  (newest_idle_ == kNone ? oldest_idle_ : idle_[newest_idle_].newer) = id;
  newest_idle_ = id;
  ++num_idle_;
}

void PagePool::RemoveIdle(PageId id) {
  const Links& links = idle_[id];
  (links.older == kNone ? oldest_idle_ : idle_[links.older].newer) = links.newer;
  (links.newer == kNone ? newest_idle_ : idle_[links.newer].older) = links.older;
  --num_idle_;
}

void PagePool::CheckInvariants() const {
  index_.CheckInvariants();
  std::vector<bool> unheld(ref_counts_.size());
  const auto visit = [&](PageId id) {
    ROPEWAY_CHECK(!unheld[id]);
    unheld[id] = true;
  };
  free_.CheckInvariants();
  for (PageId id = 0; id < num_pages(); ++id)
    if (free_.Contains(id)) {
      visit(id);
      ROPEWAY_CHECK(!index_.Contains(id));
    }
  int32_t num_idle = 0;
  for (PageId id = oldest_idle_; id != kNone; id = idle_[id].newer, ++num_idle) {
    visit(id);
    ROPEWAY_CHECK(index_.Contains(id));
  }
  ROPEWAY_CHECK(num_idle == num_idle_);
  for (PageId id = 0; id < num_pages(); ++id) ROPEWAY_CHECK(unheld[id] == (ref_counts_[id] == 0));
}

}  // namespace ropeway
