// Unicode normalisation.
#ifndef ROPEWAY_ENGINE_TEXT_NORMALIZE_H_
#define ROPEWAY_ENGINE_TEXT_NORMALIZE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ropeway {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` in a normal form. REQUIRES: valid UTF-8; NUL is a character like any other.
absl::StatusOr<std::string> NormalizeUnicode(std::string_view text, UnicodeForm form);

// RESOURCE_EXHAUSTED where a tokenizer's rules make more of a text than every script needs, which would use up the memory.
absl::Status CheckGrowth(size_t bytes_before, size_t bytes_after);

// `text` with every space as U+2581, as SentencePiece vocabularies spell it.
std::string SpellSpaces(std::string_view text);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_NORMALIZE_H_
