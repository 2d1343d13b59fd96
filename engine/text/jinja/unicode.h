// UTF-8 and the character properties that Python's str has.
//
// All functions are pure. Where a text is passed, it is valid UTF-8 and offsets are on code point boundaries.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_UNICODE_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_UNICODE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/jinja/budget.h"
#include "engine/text/jinja/str.h"

namespace ropeway::jinja {

struct CodePoint {
  char32_t value;
  size_t bytes;  // of its UTF-8
};

CodePoint DecodeAt(std::string_view text, size_t offset);      // REQUIRES: offset < text.size()
CodePoint DecodeBefore(std::string_view text, size_t offset);  // REQUIRES: 0 < offset <= text.size()
void AppendUtf8(char32_t code_point, std::string& text);

// White space as str.isspace() has it: with U+001C..1F and U+0085, without U+200B.
bool IsSpace(char32_t code_point);
bool IsPrintable(char32_t code_point);
bool IsAlphabetic(char32_t code_point);
bool IsDecimalDigit(char32_t code_point);
bool IsDigit(char32_t code_point);    // with superscripts and the like
bool IsNumeric(char32_t code_point);  // with fractions and the like
bool IsCased(char32_t code_point);
bool IsUpper(char32_t code_point);
bool IsLower(char32_t code_point);

size_t CountCodePoints(const Str& text);
// The byte offset of code point `index`. REQUIRES: 0 <= index <= CountCodePoints(text).
size_t OffsetOf(const Str& text, size_t index);

enum class CaseMapping { kUpper, kLower, kSwap, kTitle, kCapitalize };
// Full mapping: one code point may become several, and a final sigma is seen.
Str MapCase(const Str& text, CaseMapping mapping, Budget& budget);

enum class Side { kLeft, kRight, kBoth };
Str StripSpace(const Str& text, Side side);
// Takes off code points that are in `characters`.
Str StripCharacters(const Str& text, std::string_view characters, Side side);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_UNICODE_H_
