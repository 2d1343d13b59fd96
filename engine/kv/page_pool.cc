#include "engine/kv/page_pool.h"

#include "engine/base/check.h"

namespace ropeway {

PagePool::PagePool(int32_t num_pages) : ref_counts_(num_pages) {
  free_.reserve(num_pages);
  for (PageId id = num_pages - 1; id >= 0; --id) free_.push_back(id);
}

PagePool::~PagePool() { ROPEWAY_CHECK(num_free() == num_pages()); }

PageId PagePool::Allocate() {
  ROPEWAY_CHECK(!free_.empty());
  const PageId id = free_.back();
  free_.pop_back();
  ref_counts_[id] = 1;
  return id;
}

void PagePool::AddRef(PageId id) {
  ROPEWAY_CHECK(ref_counts_[id] > 0);
  ++ref_counts_[id];
}

void PagePool::DropRef(PageId id) {
  ROPEWAY_CHECK(ref_counts_[id] > 0);
  if (--ref_counts_[id] == 0) free_.push_back(id);
}

void PagePool::CheckInvariants() const {
  std::vector<bool> is_free(ref_counts_.size());
  for (const PageId id : free_) {
    ROPEWAY_CHECK(!is_free[id]);
    is_free[id] = true;
  }
  for (PageId id = 0; id < num_pages(); ++id) ROPEWAY_CHECK(is_free[id] == (ref_counts_[id] == 0));
}

}  // namespace ropeway
