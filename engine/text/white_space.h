// White space as the regular expressions of tokenizers mean it: Unicode's White_Space property, without
// U+180E, U+200B, U+FEFF and the separators U+001C to U+001F.
#ifndef ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_
#define ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_

#include <cstddef>
#include <string_view>

namespace ropeway {

// Bytes of white space at the beginning of valid UTF-8.
size_t LeadingWhiteSpace(std::string_view text);

// The members of a bracket expression in PCRE2's syntax.
inline constexpr std::string_view kWhiteSpaceClass =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_WHITE_SPACE_H_
