#include "engine/kv/page_pool.h"

#include "engine/base/check.h"

namespace ropeway {

PagePool::PagePool(int32_t num_pages)
    : ref_counts_(num_pages), allocations_(num_pages), idle_(num_pages), index_(num_pages) {
  free_.reserve(num_pages);
  for (PageId id = num_pages - 1; id >= 0; --id) free_.push_back(id);
}

PagePool::~PagePool() { ROPEWAY_CHECK(num_free() == num_pages()); }

PageId PagePool::Allocate() {
  ROPEWAY_CHECK(num_free() > 0);
  PageId id;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else {
    id = oldest_idle_;
    RemoveIdle(id);
    index_.Erase(id);
    ++num_evictions_;
  }
  ref_counts_[id] = 1;
  ++allocations_[id];
  return id;
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
    free_.push_back(id);
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
  free_.push_back(id);
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
  for (const PageId id : free_) {
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
