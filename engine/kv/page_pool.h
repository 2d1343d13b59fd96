// Which pages of the KV cache are free, and how many hold each of the others: numbers only, never contents.
//
// Not thread-safe. A page is free when its last reference is given up. Who holds references keeps them in a
// BlockTable, which gives them up when it is destroyed.
#ifndef ROPEWAY_ENGINE_KV_PAGE_POOL_H_
#define ROPEWAY_ENGINE_KV_PAGE_POOL_H_

#include <cstdint>
#include <vector>

#include "engine/api/step.h"

namespace ropeway {

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);
  ~PagePool();  // REQUIRES: every page is free
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  PageId Allocate();        // a free page, with one reference. REQUIRES: num_free() > 0
  void AddRef(PageId id);   // REQUIRES: the page is held
  void DropRef(PageId id);  // REQUIRES: the page is held

  int32_t ref_count(PageId id) const { return ref_counts_[id]; }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_pages() const { return static_cast<int32_t>(ref_counts_.size()); }

  // CHECKs that the free list holds exactly the pages without references, each once.
  void CheckInvariants() const;

 private:
  std::vector<int32_t> ref_counts_;  // [num_pages]
  std::vector<PageId> free_;  // a stack: what was given up last is taken first, as it may still be in caches
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_KV_PAGE_POOL_H_
