// White space as the regular expressions of tokenizers mean it: Unicode's White_Space property, without
// U+180E, U+200B, U+FEFF and the separators U+001C to U+001F.
#ifndef ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_
#define ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_

#include <cstddef>
#include <string_view>

namespace ropeway {

// Bytes of white space at the beginning of valid UTF-8.
size_t LeadingWhiteSpace(std::string_view text);

// Bytes of white space at its end.
size_t TrailingWhiteSpace(std::string_view text);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_
