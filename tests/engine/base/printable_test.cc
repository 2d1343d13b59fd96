#include "engine/base/printable.h"

#include "engine/base/utf8.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(PrintableTest, SpellsWhatWouldMoveTheCursorOrBreakTheText) {
  EXPECT_EQ(Printable("plain ÄÖ 你好 👩"), "plain ÄÖ 你好 👩");
  EXPECT_EQ(Printable(std::string_view("a\0b\n\x1b[31m\x7f", 10)), "a\\x00b\\x0a\\x1b[31m\\x7f");
  EXPECT_EQ(Printable("\xFF\xC3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\u0085\u202E\u2028\u2066x"),
            "\\xc2\\x85\\xe2\\x80\\xae\\xe2\\x80\\xa8\\xe2\\x81\\xa6x");
  EXPECT_EQ(Printable("\u2030\u00A0"), "\u2030\u00A0");
}

TEST(PrintableTest, CutsBetweenCharacters) {
  EXPECT_EQ(Printable("abcdef", 3), "abc...");
  EXPECT_EQ(Printable("aÄ", 2), "a...");
  EXPECT_EQ(Printable("a\n", 2), "a...");
  EXPECT_EQ(Printable("abc", 3), "abc");
}

TEST(Utf8Test, ReplacesEachInvalidPartOnce) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\xFF\xE2\x82z\xF0\x9F\x98"), "a\uFFFD\uFFFDz\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("ä"), "ä");
}

}  // namespace
}  // namespace ropeway
