// Which page of the KV cache holds the keys and values of which prefix.
//
// A prefix is named by a chain of hashes over whole pages, each made of the one before and of the tokens of
// its page; the first is made of what else the keys and values depend on, and of who may share them
// (PrefixSalt). So a page is found by all that came before it, and equal names mean equal contents.
//
// Not thread-safe. Numbers only, never contents: whether a page is held is the PagePool's business.
#ifndef ROPEWAY_ENGINE_KV_PREFIX_INDEX_H_
#define ROPEWAY_ENGINE_KV_PREFIX_INDEX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/base/siphash.h"

namespace ropeway {

// The name of the prefix that ends with a page.
using PrefixKey = Hash128;

// The name of the prefix `before` (for the first page the salt itself) with one page more. REQUIRES:
// kPageTokens tokens.
PrefixKey ExtendPrefix(const PrefixSalt& salt, const PrefixKey& before, absl::Span<const TokenId> page);

class PrefixIndex {
 public:
  explicit PrefixIndex(int32_t num_pages) : keys_(num_pages) {}

  // The page that holds the last part of the prefix.
  std::optional<PageId> Find(const PrefixKey& key) const;

  // False where the prefix is known already. REQUIRES: the page has no key.
  bool Insert(const PrefixKey& key, PageId page);
  void Erase(PageId page);  // of no effect where it has no key

  bool Contains(PageId page) const { return keys_[page].has_value(); }
  int32_t size() const { return static_cast<int32_t>(pages_.size()); }

  // CHECKs that pages and keys name each other.
  void CheckInvariants() const;

 private:
  std::vector<std::optional<PrefixKey>> keys_;  // [num_pages]
  absl::flat_hash_map<PrefixKey, PageId> pages_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_KV_PREFIX_INDEX_H_
