// The README's table of settings is what the settings say of themselves.
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/setting.h"

namespace ropeway::server {
namespace {

std::string Cell(absl::string_view text) { return text.empty() ? " |" : absl::StrCat(" ", text, " |"); }

std::string Table() {
  std::string table = "| flag | meaning | range | default |\n|---|---|---|---|\n";
  absl::string_view group;
  for (const Setting& setting : Settings()) {
    if (setting.group != group) absl::StrAppend(&table, "| **", setting.group, "** | | | |\n");
    group = setting.group;
    absl::StrAppend(&table, "| `--", setting.name, "` |",
                    Cell(absl::StrCat(setting.unit, setting.unit.empty() ? "" : " ", setting.help)),
                    Cell(setting.range), Cell(setting.default_text), "\n");
  }
  return table;
}

TEST(ReadmeTest, TheTableOfSettingsIsWhatTheServerTakes) {
  std::ifstream file("README.md");
  const std::string readme(std::istreambuf_iterator<char>(file), {});
  const size_t begin = readme.find("| flag |");
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(readme.substr(begin, readme.find("\n\n", begin) + 1 - begin), Table())
      << "the README's table is to be:\n"
      << Table();
}

}  // namespace
}  // namespace ropeway::server
