// Which pages of the KV cache are free, and how many hold each of the others: numbers only, never contents.
//
// Not thread-safe. Who holds references keeps them in a BlockTable, which gives them up when it is destroyed.
// With its last reference a page becomes free, and if it was published idle: then it is still found by the
// prefix that it holds, until Allocate() needs it. Of all idle pages the one that was given up first goes, and with it its
// quad, where nobody holds any of that.
#ifndef ROPEWAY_ENGINE_KV_PAGE_POOL_H_
#define ROPEWAY_ENGINE_KV_PAGE_POOL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/api/step.h"
#include "engine/kv/free_pages.h"
#include "engine/kv/prefix_index.h"

namespace ropeway {

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);
  ~PagePool();  // REQUIRES: no page is held
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  static constexpr PageId kNone = -1;

  // A page nobody holds, with one reference, for place `index` of a sequence whose page before is `previous`, or kNone, and
  // which takes `more` pages next: the one behind that, or else one where others may follow (free_pages.h).
  // REQUIRES: num_free() > 0
  PageId Allocate(int32_t index = 0, PageId previous = kNone, int32_t more = 0);
  void AddRef(PageId id);   // REQUIRES: the page is held, or idle
  void DropRef(PageId id);  // REQUIRES: the page is held

  // From now on the page is found by `key`, and its contents do not change; of no effect where another page
  // is found by it, or this one by its key already. REQUIRES: the page is held and holds that prefix.
  void Publish(PageId id, const PrefixKey& key);
  std::optional<PageId> Find(const PrefixKey& key) const { return index_.Find(key); }
  // What the page holds is lost, whoever holds it.
  void Withdraw(PageId id);

  int32_t ref_count(PageId id) const { return ref_counts_[id]; }
  // How often the page was allocated so far: while it is the same, the page holds what it held.
  int64_t num_allocations(PageId id) const { return allocations_[id]; }
  int32_t num_free() const { return free_.size() + num_idle_; }  // idle ones included
  int32_t num_idle() const { return num_idle_; }
  int32_t num_published() const { return index_.size(); }  // that a prefix is found in, held or idle
  int32_t num_pages() const { return static_cast<int32_t>(ref_counts_.size()); }
  int64_t num_evictions() const { return num_evictions_; }  // of idle pages, so far

  // CHECKs that each page is held, or free, or idle, each free or idle one once, and that pages and prefixes
  // name each other.
  void CheckInvariants() const;

 private:
  // Neighbours in the list of idle pages.
  struct Links {
    PageId older = kNone, newer = kNone;
  };
  void AppendIdle(PageId id);
  void RemoveIdle(PageId id);
  PageId Choose(int32_t index, PageId previous, int32_t more);
  bool IsUnheldQuad(PageId first) const;  // whether four pages begin there and nobody holds any
  void Evict(PageId id);                  // which is idle
  PageId EvictQuads(PageId last, int32_t count);

  std::vector<int32_t> ref_counts_;   // [num_pages]
  std::vector<int64_t> allocations_;  // [num_pages]
  FreePages free_;
  std::vector<Links> idle_;  // [num_pages]
  PageId oldest_idle_ = kNone, newest_idle_ = kNone;
  int32_t num_idle_ = 0;
  int64_t num_evictions_ = 0;
  PrefixIndex index_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_KV_PAGE_POOL_H_
