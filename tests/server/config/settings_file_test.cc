#include "server/config/settings_file.h"

#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SettingsFileTest, AValueIsTheRestOfItsLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"model = /a b/x,y.gguf", "/a b/x,y.gguf"},
      {"model=/a", "/a"},
      {"  model\t=\t /a \t", "/a"},
      {"model = /a=b", "/a=b"},
      {"model = /a#b", "/a#b"},
      {"model = /a # why", "/a"},
      {"model = /a\t#why", "/a"},
      {"model = \"/a #1/x.gguf\" # why", "/a #1/x.gguf"},
      {"model = '/a \"b\"'", "/a \"b\""},
      {"model = \"C:\\new\"", "C:\\new"},
      {"model = \"\"", ""},
      {"model = [a, b]", "[a, b]"},
      {"model = /\xC3\xA9", "/\xC3\xA9"},
      {"model = a\r", "a"},
      {"\r\n# why\r\n\r\nmodel = a\r\n", "a"},
  };
  for (const auto& [content, value] : cases) {
    ASSERT_OK_AND_ASSIGN(const auto entries, ParseSettingsFile("f", content));
    ASSERT_EQ(entries.size(), 1u) << content;
    EXPECT_EQ(entries[0].key, "model");
    EXPECT_EQ(entries[0].value, value);
  }
}

TEST(SettingsFileTest, TellsTheLineOfEachEntry) {
  ASSERT_OK_AND_ASSIGN(const auto entries, ParseSettingsFile("f", "# one\n\na = 1\n  # two\nb = 2"));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].line, 3);
  EXPECT_EQ(entries[1].line, 5);
  ASSERT_OK_AND_ASSIGN(const auto none, ParseSettingsFile("f", ""));
  EXPECT_TRUE(none.empty());
}

TEST(SettingsFileTest, ErrorsNameFileLineAndWord) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"\xEF\xBB\xBFmodel = a", "f:1: the file begins with a byte-order mark, \"\\xef\\xbb\\xbf\""},
      {"\xFF\xFEm", "f:1: the file begins with a byte-order mark"},
      {"a = 1\n[server]\n", "f:2: there are no sections, but \"[server]\""},
      {"a = 1\n\nmodel\n", "f:3: \"model\" has no value"},
      {"model # why", "f:1: \"model\" has no value"},
      {"model =", "f:1: \"model\" has no value"},
      {"model = # why", "f:1: \"model\" has no value"},
      {"= a", "f:1: no key stands before \"= a\""},
      {"a = 1\nb = 2\na = 3", "f:3: \"a\" is set in line 1 already"},
      {"a = \"b", "f:1: the quote is not closed: \"\\\"b\""},
      {"a = 'b' c", "f:1: nothing may follow the closing quote, but \"c\""},
      {std::string("a = b\0c", 7), "f:1: a control character: \"\\x00\""},
      {"a = \x1b[1m", "f:1: a control character: \"\\x1b\""},
  };
  for (const auto& [content, message] : cases) {
    EXPECT_THAT(ParseSettingsFile("f", content), StatusIs(absl::StatusCode::kInvalidArgument,
                                                          AllOf(HasSubstr(message), Not(HasSubstr("\n")))));
  }
}

TEST(SettingsFileTest, ReadsOnlyFilesOfSomeSize) {
  const TempFolder folder;
  EXPECT_THAT(ReadSettingsFile(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("directory")));
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadSettingsFile(folder.File("pipe")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a named pipe, not a regular file")));
  const std::string large = folder.Write("large", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(ReadSettingsFile(large),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 1048576")));
  EXPECT_OK(ReadSettingsFile(folder.Write("full", std::string(1 << 20, '#'))));
}

}  // namespace
}  // namespace ropeway::server
