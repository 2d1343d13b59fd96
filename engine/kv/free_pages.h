// Pages that nobody needs, found by where they lie: what attention reads should lie in memory as it is read, so that pages of a
// sequence follow each other, in runs where there is room, in quads where there is less (engine/kernels/args.h).
//
// Not thread-safe. Every operation takes constant time. Numbers only.
#ifndef ROPEWAY_ENGINE_KV_FREE_PAGES_H_
#define ROPEWAY_ENGINE_KV_FREE_PAGES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/api/step.h"
#include "engine/base/quad_pages.h"

namespace ropeway {

// Pages of a run: so many that a jump from one to the next costs little. On a Zen 4 a jump takes as long as 20 KB
// read in a straight line, and a run of SmolLM2 has 384 KB a layer.
inline constexpr int32_t kRunPages = 32;

// Numbers of [0, count).
class NumberSet {
 public:
  explicit NumberSet(int32_t count) : places_(count, kNowhere) {}

  bool empty() const { return numbers_.empty(); }
  int32_t size() const { return static_cast<int32_t>(numbers_.size()); }
  int32_t count() const { return static_cast<int32_t>(places_.size()); }
  bool Contains(int32_t number) const { return places_[number] != kNowhere; }
  int32_t last() const { return numbers_.back(); }  // inserted last, mostly. REQUIRES: it is not empty
  void Insert(int32_t number);                      // REQUIRES: it is not there
  void Remove(int32_t number);                      // REQUIRES: it is there

 private:
  static constexpr int32_t kNowhere = -1;

  std::vector<int32_t> numbers_;
  std::vector<int32_t> places_;  // [count], in numbers_
};

class FreePages {
 public:
  explicit FreePages(int32_t num_pages);  // all are free

  int32_t size() const { return pages_.size(); }
  bool Contains(PageId id) const { return pages_.Contains(id); }
  void Insert(PageId id);  // REQUIRES: it is not there
  void Remove(PageId id);  // REQUIRES: it is there

  // Page number `index` of a run, or quad, whose pages are all free, counted from its first page round and round: so page i of
  // a sequence is the i-th of its quad, wherever the sequence begins to have pages of its own.
  std::optional<PageId> OfWholeRun(int32_t index) const { return OfWhole(runs_, kRunPages, index); }
  std::optional<PageId> OfWholeQuad(int32_t index) const { return OfWhole(quads_, kQuadPages, index); }
  PageId any() const { return pages_.last(); }  // REQUIRES: size() > 0

  void CheckInvariants() const;

 private:
  static std::optional<PageId> OfWhole(const NumberSet& blocks, int32_t block_pages, int32_t index);

  NumberSet pages_;
  std::vector<int32_t> quad_pages_, run_pages_;  // free ones of each
  NumberSet quads_, runs_;                       // of whole size whose pages are all free
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_KV_FREE_PAGES_H_
