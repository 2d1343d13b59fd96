#include "engine/kv/block_table.h"

#include "engine/base/check.h"

namespace ropeway {

void BlockTable::GrowTo(int32_t num_pages) {
  while (size() < num_pages) pages_.push_back(pool_.Allocate());
}

PageCopy BlockTable::Detach(int32_t index) {
  const PageCopy copy = {.from = pages_[index], .to = pool_.Allocate()};
  pages_[index] = copy.to;
  pool_.DropRef(copy.from);
  return copy;
}

void BlockTable::ShareFrom(const BlockTable& other, int32_t num_pages) {
  ROPEWAY_CHECK(pages_.empty() && num_pages <= other.size());
  pages_.assign(other.pages_.begin(), other.pages_.begin() + num_pages);
  for (const PageId id : pages_) pool_.AddRef(id);
}

void BlockTable::Clear() {
  for (const PageId id : pages_) pool_.DropRef(id);
  pages_.clear();
}

}  // namespace ropeway
