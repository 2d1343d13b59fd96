#include "engine/text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>

namespace ropeway::jinja {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Takes off code points for which `drops` holds.
template <typename Drops>
Str Strip(const Str& text, Side side, Drops&& drops) {
  const std::string_view view = text.view();
  size_t begin = 0;
  size_t end = view.size();
  while (side != Side::kRight && begin < end) {
    const CodePoint first = DecodeAt(view, begin);
    if (!drops(first.value)) break;
    begin += first.bytes;
  }
  while (side != Side::kLeft && end > begin) {
    const CodePoint last = DecodeBefore(view, end);
    if (!drops(last.value)) break;
    end -= last.bytes;
  }
  return text.Slice(begin, end);
}

}  // namespace

CodePoint DecodeAt(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {static_cast<char32_t>((first & 0x1F) << 6 | (byte(1) & 0x3F)), 2};
  if (first < 0xF0) {
    return {static_cast<char32_t>((first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F)), 3};
  }
  return {static_cast<char32_t>((first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
                                (byte(3) & 0x3F)),
          4};
}

CodePoint DecodeBefore(std::string_view text, size_t offset) {
  size_t begin = offset - 1;
  while (IsContinuation(text[begin])) --begin;
  return DecodeAt(text, begin);
}

void AppendUtf8(char32_t code_point, std::string& text) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPrintable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool IsAlphabetic(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDecimalDigit(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

bool IsDigit(char32_t c) {
  const bool is_script = c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
                         (c >= 0x2080 && c <= 0x2089);
  return is_script || IsDecimalDigit(c);
}

bool IsNumeric(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsUpper(char32_t c) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0; }
bool IsLower(char32_t c) { return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0; }
bool IsCased(char32_t c) {
  return IsUpper(c) || IsLower(c) ||
         utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_LT;
}

size_t CountCodePoints(const Str& text) {
  if (text.known_ascii()) return text.size();
  const std::string_view view = text.view();
  return static_cast<size_t>(
      std::count_if(view.begin(), view.end(), [](char c) { return !IsContinuation(c); }));
}

size_t OffsetOf(const Str& text, size_t index) {
  if (text.known_ascii()) return index;
  const std::string_view view = text.view();
  size_t offset = 0;
  for (; index > 0; --index) offset += DecodeAt(view, offset).bytes;
  return offset;
}

Str StripSpace(const Str& text, Side side) { return Strip(text, side, IsSpace); }

Str StripCharacters(const Str& text, std::string_view characters, Side side) {
  std::u32string set;
  for (size_t i = 0; i < characters.size();) {
    const CodePoint next = DecodeAt(characters, i);
    set.push_back(next.value);
    i += next.bytes;
  }
  std::sort(set.begin(), set.end());
  return Strip(text, side, [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

}  // namespace ropeway::jinja
