#include "engine/base/utf8.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

// The encoding of a number in so many bytes, whether it may have them or not.
std::string Encoded(uint32_t code_point, size_t bytes) {
  if (bytes == 1) return std::string(1, static_cast<char>(code_point));
  std::string text(bytes, '\0');
  for (size_t i = bytes - 1; i > 0; --i, code_point >>= 6)
    text[i] = static_cast<char>(0x80 | (code_point & 0x3F));
  text[0] = static_cast<char>((0xF00u >> bytes & 0xFF) | code_point);
  return text;
}

size_t BytesOf(uint32_t code_point) {
  return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

bool IsScalar(uint32_t code_point) {
  return code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF);
}

TEST(Utf8Test, EveryCodePointIsOneAndEachBeginningOfItIncomplete) {
  for (uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (!IsScalar(code_point)) continue;
    const std::string text = Encoded(code_point, BytesOf(code_point));
    const Utf8Step step = NextUtf8(text + "x");
    ASSERT_EQ(step.kind, Utf8Step::kCodePoint) << code_point;
    ASSERT_EQ(step.bytes, text.size()) << code_point;
    for (size_t bytes = 1; bytes < text.size(); ++bytes) {
      const Utf8Step part = NextUtf8(text.substr(0, bytes));
      ASSERT_EQ(part.kind, Utf8Step::kIncomplete) << code_point;
      ASSERT_EQ(part.bytes, bytes) << code_point;
    }
  }
}

// Longer than they need be, halves of surrogate pairs, and what is beyond Unicode.
TEST(Utf8Test, NoOtherNumberIsACodePoint) {
  for (uint32_t number = 0; number < 0x200000; ++number)
    for (size_t bytes = 2; bytes <= 4; ++bytes) {
      const bool fits = number < (1u << (bytes == 4 ? 21 : 5 * bytes + 1));
      if (!fits || (IsScalar(number) && BytesOf(number) == bytes)) continue;
      ASSERT_EQ(NextUtf8(Encoded(number, bytes)).kind, Utf8Step::kInvalid) << number << " in " << bytes;
    }
}

TEST(Utf8Test, BytesThatBeginNothingAreInvalidAlone) {
  for (int byte = 0x80; byte < 0x100; ++byte) {
    const std::string text = {static_cast<char>(byte), '\x80', '\x80', '\x80'};
    const bool begins = byte >= 0xC2 && byte <= 0xF4;
    if (!begins) {
      EXPECT_EQ(NextUtf8(text).kind, Utf8Step::kInvalid) << byte;
      EXPECT_EQ(NextUtf8(text).bytes, 1u) << byte;
    }
    // Cut short by a letter, which begins the next step.
    const Utf8Step cut = NextUtf8(std::string{static_cast<char>(byte), 'a'});
    EXPECT_EQ(cut.kind, Utf8Step::kInvalid) << byte;
    EXPECT_EQ(cut.bytes, 1u) << byte;
  }
}

TEST(Utf8Test, FindsWhatIsInvalid) {
  EXPECT_EQ(FindInvalidUtf8(""), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\U0001F642"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\xE2\x82"), 3u);
  EXPECT_EQ(FindInvalidUtf8("ab\xC0\xAF"), 2u);
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0u);
}

}  // namespace
}  // namespace ropeway
