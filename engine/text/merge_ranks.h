// The merges of a BPE vocabulary: which pairs of tokens become which token, and in which order.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_MERGE_RANKS_H_
#define ROPEWAY_ENGINE_TEXT_MERGE_RANKS_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/base/metadata.h"
#include "engine/text/symbol_merger.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

class MergeRanks {
 public:
  // From tokenizer.ggml.merges, whose lines are "left right". A line that names no tokens of the vocabulary
  // can never apply and is passed over; one without a space is INVALID_ARGUMENT.
  static absl::StatusOr<MergeRanks> Read(const Metadata& metadata, const Vocabulary& vocabulary);

  MergeRanks() = default;

  // A pair that is there already gets the new rank.
  void Set(TokenId left, TokenId right, Merged merged) { merges_.insert_or_assign(Key(left, right), merged); }

  Merged Find(TokenId left, TokenId right) const {
    const auto found = merges_.find(Key(left, right));
    return found == merges_.end() ? Merged{} : found->second;
  }

 private:
  static uint64_t Key(TokenId left, TokenId right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  absl::flat_hash_map<uint64_t, Merged> merges_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_MERGE_RANKS_H_
