#include "engine/kv/block_table.h"

#include "engine/base/check.h"

namespace ropeway {

void BlockTable::GrowTo(int32_t num_pages) {
  while (size() < num_pages)
    pages_.push_back(
        pool_.Allocate(size(), pages_.empty() ? PagePool::kNone : pages_.back(), num_pages - size() - 1));
}

PageCopy BlockTable::Detach(int32_t index) {
  const PageCopy copy = {.from = pages_[index],
                         .to = pool_.Allocate(index, index > 0 ? pages_[index - 1] : PagePool::kNone)};
  pages_[index] = copy.to;
  pool_.DropRef(copy.from);
  return copy;
}

void BlockTable::Adopt(int32_t index, PageId page) {
  pool_.AddRef(page);
  pool_.DropRef(pages_[index]);
  pages_[index] = page;
}

void BlockTable::AppendShared(PageId page) {
  pool_.AddRef(page);
  pages_.push_back(page);
}

void BlockTable::ShareFrom(const BlockTable& other, int32_t num_pages) {
  ROPEWAY_CHECK(pages_.empty() && num_pages <= other.size());
  pages_.assign(other.pages_.begin(), other.pages_.begin() + num_pages);
  for (const PageId id : pages_) pool_.AddRef(id);
}

// From the end: of a prefix that is found again its beginning is of most use, so it leaves the cache last.
void BlockTable::Clear() {
  for (; !pages_.empty(); pages_.pop_back()) pool_.DropRef(pages_.back());
}

}  // namespace ropeway
