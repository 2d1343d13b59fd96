#include "server/config/settings_file.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "server/config/setting_value.h"

namespace ropeway::server {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr absl::string_view kByteOrderMarks[] = {"\xEF\xBB\xBF", "\xFF\xFE", "\xFE\xFF"};

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

bool IsControl(char c) { return absl::ascii_iscntrl(c) && c != '\t'; }

// What stands before a comment: "#" at the start or behind white space.
absl::string_view WithoutComment(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '#' && (i == 0 || absl::ascii_isspace(text[i - 1]))) return text.substr(0, i);
  return text;
}

absl::StatusOr<std::string> ParseText(absl::string_view key, absl::string_view text) {
  const char quote = text.front();
  if (quote != '"' && quote != '\'') {
    text = absl::StripTrailingAsciiWhitespace(WithoutComment(text));
    if (text.empty()) return Wrong(absl::StrCat(Quoted(key), " has no value"));
    return std::string(text);
  }
  const size_t end = text.find(quote, 1);
  if (end == absl::string_view::npos) return Wrong(absl::StrCat("the quote is not closed: ", Quoted(text)));
  const absl::string_view rest = absl::StripLeadingAsciiWhitespace(text.substr(end + 1));
  if (!rest.empty() && rest.front() != '#')
    return Wrong(absl::StrCat("nothing may follow the closing quote, but ", Quoted(rest), " does"));
  return std::string(text.substr(1, end - 1));
}

// A line that is neither empty nor a comment, without white space around it.
absl::StatusOr<SettingsFileEntry> ParseLine(absl::string_view line) {
  if (const auto control = std::find_if(line.begin(), line.end(), IsControl); control != line.end())
    return Wrong(absl::StrCat("a control character: ", Quoted(absl::string_view(&*control, 1))));
  if (line.front() == '[') return Wrong(absl::StrCat("there are no sections, but ", Quoted(line)));
  const size_t equals = line.find('=');
  if (equals == absl::string_view::npos) {
    const absl::string_view word = absl::StripTrailingAsciiWhitespace(WithoutComment(line));
    return Wrong(absl::StrCat(Quoted(word), " has no value; a line is \"key = value\""));
  }
  SettingsFileEntry entry;
  entry.key = std::string(absl::StripTrailingAsciiWhitespace(line.substr(0, equals)));
  if (entry.key.empty()) return Wrong(absl::StrCat("no key stands before ", Quoted(line)));
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(line.substr(equals + 1));
  if (text.empty()) return Wrong(absl::StrCat(Quoted(entry.key), " has no value"));
  ASSIGN_OR_RETURN(entry.value, ParseText(entry.key, text));
  return entry;
}

}  // namespace

absl::StatusOr<std::vector<SettingsFileEntry>> ParseSettingsFile(absl::string_view path,
                                                                 absl::string_view content) {
  const auto at = [path](int line, absl::string_view what) {
    return Wrong(absl::StrCat(path, ":", line, ": ", what));
  };
  for (const absl::string_view mark : kByteOrderMarks) {
    if (absl::StartsWith(content, mark))
      return at(1, absl::StrCat("the file begins with a byte-order mark, ", Quoted(mark),
                                ": save it as UTF-8 without one"));
  }
  std::vector<SettingsFileEntry> entries;
  absl::flat_hash_map<std::string, int> lines;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::StatusOr<SettingsFileEntry> entry = ParseLine(line);
    if (!entry.ok()) return at(number, entry.status().message());
    entry->line = number;
    const auto [first, is_new] = lines.try_emplace(entry->key, number);
    if (!is_new)
      return at(number, absl::StrCat(Quoted(entry->key), " is set in line ", first->second, " already"));
    entries.push_back(*std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<SettingsFileEntry>> ReadSettingsFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadRegularFile(path, kMaxFileBytes));
  return ParseSettingsFile(path, content);
}

}  // namespace ropeway::server
