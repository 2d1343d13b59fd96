// SentencePiece's compiled table of replacements, applied as Hugging Face's library applies it.
//
// Grammar: [bytes of the trie: uint32] [trie: uint32 units of a double array] [replacements: texts that end
// with NUL]. A key leads through the trie to the offset of its replacement. Little-endian throughout.
//
// Immutable after it was read; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_HF_CHARSMAP_H_
#define ROPEWAY_ENGINE_TEXT_HF_CHARSMAP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ropeway::hf {

class Charsmap {
 public:
  // INVALID_ARGUMENT for bytes that contradict themselves.
  static absl::StatusOr<Charsmap> Read(std::string_view bytes);

  // Replaces what the table has: short grapheme clusters whole, where any beginning of them is a key, and
  // else code point by code point. That is odd, and what models were used with. REQUIRES: valid UTF-8.
  std::string Apply(std::string_view text) const;

 private:
  Charsmap() = default;
  // The replacement of the shortest key that `text` begins with; nullopt where there is none.
  std::optional<std::string_view> Find(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_CHARSMAP_H_
