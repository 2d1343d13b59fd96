#include "engine/kv/free_pages.h"

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"

namespace ropeway {

void NumberSet::Insert(int32_t number) {
  ROPEWAY_CHECK(!Contains(number));
  places_[number] = size();
  numbers_.push_back(number);
}

void NumberSet::Remove(int32_t number) {
  ROPEWAY_CHECK(Contains(number));
  const int32_t place = places_[number], moved = numbers_.back();
  numbers_[place] = moved;
  places_[moved] = place;
  numbers_.pop_back();
  places_[number] = kNowhere;
}

// From the last one, so that the first one is taken first.
FreePages::FreePages(int32_t num_pages)
    : pages_(num_pages),
      quad_pages_(CeilDiv(num_pages, kQuadPages)),
      run_pages_(CeilDiv(num_pages, kRunPages)),
      quads_(static_cast<int32_t>(quad_pages_.size())),
      runs_(static_cast<int32_t>(run_pages_.size())) {
  for (PageId id = num_pages - 1; id >= 0; --id) Insert(id);
}

void FreePages::Insert(PageId id) {
  pages_.Insert(id);
  if (++quad_pages_[id / kQuadPages] == kQuadPages) quads_.Insert(id / kQuadPages);
  if (++run_pages_[id / kRunPages] == kRunPages) runs_.Insert(id / kRunPages);
}

void FreePages::Remove(PageId id) {
  pages_.Remove(id);
  if (quad_pages_[id / kQuadPages]-- == kQuadPages) quads_.Remove(id / kQuadPages);
  if (run_pages_[id / kRunPages]-- == kRunPages) runs_.Remove(id / kRunPages);
}

std::optional<PageId> FreePages::OfWhole(const NumberSet& blocks, int32_t block_pages, int32_t index) {
  if (blocks.empty()) return std::nullopt;
  return blocks.last() * block_pages + index % block_pages;
}

void FreePages::CheckInvariants() const {
  const auto check = [&](const NumberSet& blocks, const std::vector<int32_t>& counts, int32_t block_pages) {
    std::vector<int32_t> expected(counts.size());
    for (PageId id = 0; id < pages_.count(); ++id) expected[id / block_pages] += Contains(id) ? 1 : 0;
    ROPEWAY_CHECK(counts == expected);
    for (int32_t block = 0; block < blocks.count(); ++block)
      ROPEWAY_CHECK(blocks.Contains(block) == (counts[block] == block_pages));
  };
  check(quads_, quad_pages_, kQuadPages);
  check(runs_, run_pages_, kRunPages);
}

}  // namespace ropeway
