// Replacements against those of Hugging Face's library: tests/golden/unigram/make_charsmap_golden.py.
#include "engine/text/charsmap.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "engine/base/utf8.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

nlohmann::json ReadGolden() {
  const auto text = ::ropeway::testing::ReadGzipFile("tests/golden/unigram/charsmap.json.gz");
  EXPECT_OK(text);
  return nlohmann::json::parse(*text);
}

std::string Table(const nlohmann::json& golden) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(golden["charsmap"].get<std::string>(), &bytes));
  return bytes;
}

TEST(CharsmapTest, ReplacesAsTheLibraryDoes) {
  const nlohmann::json golden = ReadGolden();
  ASSERT_OK_AND_ASSIGN(const Charsmap charsmap, Charsmap::Read(Table(golden)));
  ASSERT_EQ(golden["cases"].size(), 400u);
  for (const auto& test : golden["cases"]) {
    ASSERT_OK_AND_ASSIGN(const std::string replaced, charsmap.Apply(test[0].get<std::string>()));
    EXPECT_EQ(replaced, test[1].get<std::string>()) << test;
  }
}

TEST(CharsmapTest, BrokenTablesAreRefusedOrDoNoHarm) {
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Charsmap::Read("abc"), StatusIs(code, HasSubstr("too short")));
  EXPECT_THAT(Charsmap::Read(std::string("\0\0\0\0", 4)), StatusIs(code, HasSubstr("a trie of 0 bytes")));
  EXPECT_THAT(Charsmap::Read(std::string("\x08\0\0\0abcd", 8)),
              StatusIs(code, HasSubstr("a trie of 8 bytes, of 4")));
  EXPECT_THAT(Charsmap::Read(std::string("\x04\0\0\0abcd\xFF", 9)),
              StatusIs(code, HasSubstr("not valid UTF-8")));
  const nlohmann::json golden = ReadGolden();
  const std::string table = Table(golden);
  for (size_t i = 4; i < table.size(); i += 3) {
    std::string broken = table;
    broken[i] = static_cast<char>(broken[i] ^ (i * 37 + 1));
    const auto charsmap = Charsmap::Read(broken);
    if (!charsmap.ok()) continue;
    for (size_t c = 0; c < 40; ++c) {
      const auto text = golden["cases"][c][0].get<std::string>();
      const auto replaced = charsmap->Apply(text);
      if (replaced.ok()) {
        EXPECT_EQ(FindInvalidUtf8(*replaced), std::string::npos);
      }
      for (size_t at = 0; at < text.size(); at += Utf8Length(text[at])) {
        const auto match = charsmap->Longest(std::string_view(text).substr(at));
        if (!match) continue;
        EXPECT_LE(match->bytes, text.size() - at);
        EXPECT_EQ(FindInvalidUtf8(match->replacement), std::string::npos);
      }
    }
  }
}

// The units of a trie as a table has them, less the replacements behind them.
std::string TableOf(const std::vector<uint32_t>& units) {
  std::string table;
  const auto put = [&](uint32_t value) {
    for (int i = 0; i < 4; ++i) table += static_cast<char>(value >> (8 * i) & 0xFF);
  };
  put(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) put(unit);
  return table;
}

// One key, "a", whose replacement begins at byte `value`: the root's children begin at unit 256, "a" is unit 256 ^ 'a',
// and its value in the unit 512 further.
std::vector<uint32_t> OneKey(uint32_t value) {
  std::vector<uint32_t> units(1024);
  units[0] = 256 << 10;
  units[256 ^ 'a'] = 512 << 10 | 1 << 8 | 'a';
  units[256 ^ 'a' ^ 512] = value;
  return units;
}

TEST(CharsmapTest, AReplacementMustBeginWithACharacter) {
  const std::string replacements("\xC3\xA9\0z", 4);
  for (const auto& [value, expected] : std::vector<std::pair<uint32_t, std::optional<std::string>>>{
           {0, "\xC3\xA9"}, {1, std::nullopt}, {2, ""}, {3, "z"}, {4, std::nullopt}}) {
    ASSERT_OK_AND_ASSIGN(const Charsmap charsmap, Charsmap::Read(TableOf(OneKey(value)) + replacements));
    const auto match = charsmap.Longest("ab");
    EXPECT_EQ(match.has_value(), expected.has_value()) << value;
    if (match) {
      EXPECT_EQ(match->replacement, *expected);
    }
  }
}

// A replacement as long as the file.
TEST(CharsmapTest, TextsDoNotGrowWithoutEnd) {
  const std::string replacement(1 << 20, 'x');
  ASSERT_OK_AND_ASSIGN(const Charsmap charsmap, Charsmap::Read(TableOf(OneKey(/*value=*/0)) + replacement));
  const auto match = charsmap.Longest("ab");
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->bytes, 1u);
  EXPECT_EQ(match->replacement, replacement);
  EXPECT_THAT(charsmap.Apply(std::string(1000, 'a')),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 32 times as many")));
}

// A table whose "a" leads back to the root: of no end, and each step of a text would go through all of its rest.
TEST(CharsmapTest, NoKeyIsLongerThanItsLimit) {
  std::vector<uint32_t> units(256);
  units['a'] = 'a' << 10 | 'a';
  ASSERT_OK_AND_ASSIGN(const Charsmap charsmap, Charsmap::Read(TableOf(units) + "x"));
  const std::string text(1 << 20, 'a');
  for (size_t i = 0; i < text.size(); ++i)
    ASSERT_FALSE(charsmap.Longest(std::string_view(text).substr(i)).has_value());
}

}  // namespace
}  // namespace ropeway
