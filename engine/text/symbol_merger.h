// Merges neighbouring symbols of a piece of text, best pair first, leftmost among equals: the heart of BPE.
//
// Near-linear in the number of symbols: a heap of candidate pairs, whose stale entries are skipped.
#ifndef ROPEWAY_ENGINE_TEXT_SYMBOL_MERGER_H_
#define ROPEWAY_ENGINE_TEXT_SYMBOL_MERGER_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/api/token.h"

namespace ropeway {

// A symbol of a piece: bytes [begin, begin + bytes) and the token they are; kNoToken for none.
struct Symbol {
  uint32_t begin = 0, bytes = 0;
  TokenId id = kNoToken;
};

// What two neighbours become, and how good that is: smaller ranks first.
struct Merged {
  TokenId id = kNoToken;  // kNoToken: they do not merge
  int64_t rank = 0;
};

// `merge(left, right)` -> Merged. Symbols that were merged away are removed.
template <typename Merge>
void MergeSymbols(std::vector<Symbol>& symbols, const Merge& merge) {
  struct Candidate {
    int64_t rank;
    uint32_t left, right;  // symbols
    TokenId left_id, right_id, id;
    // Heaps keep the largest on top.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  constexpr uint32_t kNone = UINT32_MAX;
  const auto count = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> previous(count), next(count);
  for (uint32_t i = 0; i < count; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 == count ? kNone : i + 1;
  }
  std::vector<Candidate> heap;
  const auto candidate = [&](uint32_t left, uint32_t right) {
    const Merged merged = merge(symbols[left], symbols[right]);
    if (merged.id == kNoToken) return false;
    heap.push_back({merged.rank, left, right, symbols[left].id, symbols[right].id, merged.id});
    return true;
  };
  for (uint32_t i = 0; i + 1 < count; ++i) candidate(i, i + 1);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol &left = symbols[best.left], &right = symbols[best.right];
    // Stale: one of the two is gone or has become another symbol.
    if (left.bytes == 0 || right.bytes == 0 || next[best.left] != best.right || left.id != best.left_id ||
        right.id != best.right_id)
      continue;
    left.bytes = right.begin + right.bytes - left.begin;
    left.id = best.id;
    right.bytes = 0;
    next[best.left] = next[best.right];
    if (next[best.left] != kNone) previous[next[best.left]] = best.left;
    if (next[best.left] != kNone && candidate(best.left, next[best.left]))
      std::push_heap(heap.begin(), heap.end());
    if (previous[best.left] != kNone && candidate(previous[best.left], best.left))
      std::push_heap(heap.begin(), heap.end());
  }
  symbols.erase(std::remove_if(symbols.begin(), symbols.end(), [](const Symbol& s) { return s.bytes == 0; }),
                symbols.end());
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_SYMBOL_MERGER_H_
