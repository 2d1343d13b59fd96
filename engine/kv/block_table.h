// The pages of one sequence, in order: position p lies in page p / kPageTokens of the table.
//
// Not thread-safe. Holds one reference to each of its pages and gives them up when destroyed; outlived by its
// pool.
#ifndef ROPEWAY_ENGINE_KV_BLOCK_TABLE_H_
#define ROPEWAY_ENGINE_KV_BLOCK_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/kv/page_pool.h"

namespace ropeway {

class BlockTable {
 public:
  explicit BlockTable(PagePool& pool) : pool_(pool) {}
  ~BlockTable() { Clear(); }
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  int32_t size() const { return static_cast<int32_t>(pages_.size()); }
  absl::Span<const PageId> pages() const { return pages_; }  // valid until the table changes
  bool IsShared(int32_t index) const { return pool_.ref_count(pages_[index]) > 1; }

  // Appends fresh pages until there are `num_pages`. REQUIRES: the pool has them.
  void GrowTo(int32_t num_pages);

  // Replaces a page by a fresh one, which is to become its copy. REQUIRES: the pool has one.
  PageCopy Detach(int32_t index);

  // Replaces a page by one that the pool found, which holds the same prefix.
  void Adopt(int32_t index, PageId page);

  // Appends a page that the pool found.
  void AppendShared(PageId page);

  // Holds the first `num_pages` pages of `other`, too. REQUIRES: this table is empty.
  void ShareFrom(const BlockTable& other, int32_t num_pages);

  void Clear();

 private:
  PagePool& pool_;
  std::vector<PageId> pages_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_KV_BLOCK_TABLE_H_
