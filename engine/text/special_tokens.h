// Finds control and user-defined tokens spelt in a text: leftmost, then longest.
//
// Immutable after it was made; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_SPECIAL_TOKENS_H_
#define ROPEWAY_ENGINE_TEXT_SPECIAL_TOKENS_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/api/token.h"
#include "engine/text/vocabulary.h"

namespace ropeway {

class SpecialTokens {
 public:
  SpecialTokens() = default;  // none
  // All control and user-defined tokens, without fillers.
  explicit SpecialTokens(const Vocabulary& vocabulary);

  // The first of equals counts. REQUIRES: text is not empty.
  void Add(std::string_view text, TokenId id, bool control);

  struct Match {
    size_t bytes = 0;  // 0: none
    TokenId id = kNoToken;
  };
  // The longest token that begins at `offset`. A control token counts only where it ends at or before
  // `control_limit`.
  Match At(std::string_view text, size_t offset, size_t control_limit) const;

 private:
  struct Node {
    TokenId user_defined = kNoToken, control = kNoToken;  // that end here
  };

  std::array<bool, 256> begins_{};                 // bytes that any token begins with
  std::vector<Node> nodes_{1};                     // of a trie; node 0 is the root
  absl::flat_hash_map<uint64_t, uint32_t> edges_;  // (node << 8 | byte) -> node
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_SPECIAL_TOKENS_H_
