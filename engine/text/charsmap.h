// SentencePiece's compiled table of replacements.
//
// Grammar: [bytes of the trie: uint32] [trie: uint32 units of a double array] [replacements: texts that end
// with NUL]. A key leads through the trie to the offset of its replacement. Little-endian throughout.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_CHARSMAP_H_
#define ROPEWAY_ENGINE_TEXT_CHARSMAP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ropeway {

class Charsmap {
 public:
  // INVALID_ARGUMENT for bytes that contradict themselves.
  static absl::StatusOr<Charsmap> Read(std::string_view bytes);

  // Replaces what the table has as Hugging Face's library does: short grapheme clusters whole, where any beginning of
  // them is a key, and else code point by code point. That is odd, and what models were used with. RESOURCE_EXHAUSTED
  // where the text grows beyond what CheckGrowth (normalize.h) allows. REQUIRES: valid UTF-8.
  absl::StatusOr<std::string> Apply(std::string_view text) const;

  struct Match {
    size_t bytes = 0;  // of the key
    std::string_view replacement;
  };
  // The longest key that `text` begins with, as SentencePiece's own library takes it; nullopt where there is none.
  std::optional<Match> Longest(std::string_view text) const;

 private:
  Charsmap() = default;
  // Calls `on_key(bytes, replacement)` for the keys that `text` begins with, the shortest first, until it returns false.
  template <typename OnKey>
  void Walk(std::string_view text, const OnKey& on_key) const;
  // The replacement of the shortest key that `text` begins with; nullopt where there is none.
  std::optional<std::string_view> Find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_CHARSMAP_H_
