#include "engine/kv/prefix_index.h"

#include <array>

#include "engine/base/check.h"

namespace ropeway {

PrefixKey ExtendPrefix(const PrefixSalt& salt, const PrefixKey& before, absl::Span<const TokenId> page) {
  ROPEWAY_DCHECK(page.size() == kPageTokens);
  std::array<uint64_t, 2 + kPageTokens / 2> words = {before[0], before[1]};
  for (int i = 0; i < kPageTokens; i += 2)
    words[2 + i / 2] = static_cast<uint32_t>(page[i]) | uint64_t{static_cast<uint32_t>(page[i + 1])} << 32;
  return SipHash128(salt, words);
}

std::optional<PageId> PrefixIndex::Find(const PrefixKey& key) const {
  const auto found = pages_.find(key);
  if (found == pages_.end()) return std::nullopt;
  return found->second;
}

bool PrefixIndex::Insert(const PrefixKey& key, PageId page) {
  ROPEWAY_CHECK(!Contains(page));
  if (!pages_.insert({key, page}).second) return false;
  keys_[page] = key;
  return true;
}

void PrefixIndex::Erase(PageId page) {
  if (!Contains(page)) return;
  pages_.erase(*keys_[page]);
  keys_[page].reset();
}

void PrefixIndex::CheckInvariants() const {
  size_t named = 0;
  for (size_t page = 0; page < keys_.size(); ++page) {
    if (!keys_[page].has_value()) continue;
    ++named;
    const auto found = pages_.find(*keys_[page]);
    ROPEWAY_CHECK(found != pages_.end() && found->second == static_cast<PageId>(page));
  }
  ROPEWAY_CHECK(named == pages_.size());
}

}  // namespace ropeway
