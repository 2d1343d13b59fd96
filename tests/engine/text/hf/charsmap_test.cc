// Replacements against those of Hugging Face's library: tests/golden/unigram/make_charsmap_golden.py.
#include "engine/text/hf/charsmap.h"

#include <string>

#include "absl/strings/escaping.h"
#include "engine/base/utf8.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::hf {
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
    EXPECT_EQ(charsmap.Apply(test[0].get<std::string>()), test[1].get<std::string>()) << test;
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
      EXPECT_EQ(FindInvalidUtf8(charsmap->Apply(golden["cases"][c][0].get<std::string>())),
                std::string::npos);
    }
  }
}

}  // namespace
}  // namespace ropeway::hf
