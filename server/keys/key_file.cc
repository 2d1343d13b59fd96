#include "server/keys/key_file.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr size_t kMaxNameBytes = 64, kMaxTenantBytes = 64, kMaxSubjectBytes = 1024;
constexpr absl::string_view kRoleNames[] = {"user", "monitor", "admin"};

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxQuotedBytes = 80;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedBytes)), "\"");
}

struct Word {
  std::string name;
  std::string value;
};

// Takes a word off the front of `line`, which begins with it.
absl::StatusOr<Word> TakeWord(absl::string_view& line) {
  const size_t equals = line.find_first_of("= \t");
  Word word = {.name = std::string(line.substr(0, equals))};
  if (equals == absl::string_view::npos || line[equals] != '=')
    return Wrong(absl::StrCat("the word ", Quoted(word.name), " has no value: a word is NAME=VALUE"));
  line.remove_prefix(equals + 1);
  const bool is_quoted = absl::ConsumePrefix(&line, "\"");
  const size_t end = is_quoted ? line.find('"') : std::min(line.find_first_of(" \t"), line.size());
  if (end == absl::string_view::npos)
    return Wrong(absl::StrCat("the quote of ", Quoted(word.name), " is not closed"));
  word.value = std::string(line.substr(0, end));
  line.remove_prefix(end + (is_quoted ? 1 : 0));
  if (!line.empty() && !absl::ascii_isspace(line.front()))
    return Wrong(absl::StrCat("a blank is missing behind the quotes of ", Quoted(word.name)));
  if (word.value.empty()) return Wrong(absl::StrCat("the word ", Quoted(word.name), " has no value"));
  return word;
}

template <typename T>
absl::Status ReadLimit(const Word& word, int64_t least, int64_t most, std::optional<T>& limit) {
  int64_t value = 0;
  const absl::string_view digits = absl::StripPrefix(word.value, "-");
  const bool decimal = !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  if (!decimal || !absl::SimpleAtoi(word.value, &value) || value < least || value > most) {
    return Wrong(absl::StrCat(word.name, " must be a whole number in [", least, ", ", most, "], is ",
                              Quoted(word.value)));
  }
  limit = static_cast<T>(value);
  return absl::OkStatus();
}

// False where the word is no limit.
absl::StatusOr<bool> ReadLimitWord(const Word& word, KeyLimits& limits) {
  absl::Status status;
  if (word.name == "running") {
    status = ReadLimit(word, 1, 1 << 20, limits.running);
  } else if (word.name == "queued") {
    status = ReadLimit(word, 0, 1 << 20, limits.queued);
  } else if (word.name == "tokens_per_minute") {
    status = ReadLimit(word, 1, 1'000'000'000'000, limits.tokens_per_minute);
  } else if (word.name == "kv_pages") {
    status = ReadLimit(word, 1, 1 << 30, limits.kv_pages);
  } else {
    return false;
  }
  if (!status.ok()) return status;
  return true;
}

absl::Status ReadText(const Word& word, size_t max_bytes, std::string& text) {
  if (word.value.size() > max_bytes ||
      !std::all_of(word.value.begin(), word.value.end(), absl::ascii_isprint))
    return Wrong(absl::StrCat(word.name, " must be at most ", max_bytes, " bytes of printable ASCII, is ",
                              Quoted(word.value)));
  text = word.value;
  return absl::OkStatus();
}

template <size_t N>
absl::StatusOr<int> ReadChoice(const Word& word, const absl::string_view (&choices)[N]) {
  for (size_t i = 0; i < N; ++i)
    if (word.value == choices[i]) return static_cast<int>(i);
  std::string all;
  for (const absl::string_view choice : choices) absl::StrAppend(&all, all.empty() ? "" : ", ", choice);
  return Wrong(absl::StrCat(word.name, " must be one of ", all, "; is ", Quoted(word.value)));
}

absl::Status ReadWord(const Word& word, KeyEntry& entry) {
  if (word.name == "key") {
    entry.hash = ParseKeyHash(word.value);
    return entry.hash ? absl::OkStatus()
                      : Wrong("key must be ID:SALT:DIGEST, as `ropeway keys add` writes it, and is not");
  }
  if (word.name == "subject") return ReadText(word, kMaxSubjectBytes, entry.subject);
  if (word.name == "tenant") return ReadText(word, kMaxTenantBytes, entry.tenant);
  if (word.name == "role") {
    ASSIGN_OR_RETURN(const int role, ReadChoice(word, kRoleNames));
    entry.role = static_cast<KeyRole>(role);
    return absl::OkStatus();
  }
  if (word.name == "tenants") {
    ASSIGN_OR_RETURN(const int choice, ReadChoice(word, {"own", "any"}));
    entry.any_tenant = choice == 1;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const bool is_limit, ReadLimitWord(word, entry.limits));
  return is_limit ? absl::OkStatus() : Wrong(absl::StrCat("there is no word ", Quoted(word.name)));
}

absl::Status CheckEntry(const KeyEntry& entry) {
  const bool plain = !entry.name.empty() && entry.name.size() <= kMaxNameBytes &&
                     std::all_of(entry.name.begin(), entry.name.end(), [](unsigned char c) {
                       return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
                     });
  if (!plain) {
    return Wrong(absl::StrCat("a name is 1 to ", kMaxNameBytes,
                              " letters, digits, \".\", \"_\" and \"-\"; this one is not"));
  }
  if (!entry.hash && entry.subject.empty())
    return Wrong(absl::StrCat(Quoted(entry.name), " has neither key nor subject"));
  const bool is_user = entry.role == KeyRole::kUser;
  if (is_user && entry.tenant.empty()) return Wrong(absl::StrCat(Quoted(entry.name), " has no tenant"));
  if (!is_user && (!entry.tenant.empty() || entry.any_tenant || entry.limits != KeyLimits()))
    return Wrong(absl::StrCat("tenant, tenants and limits are a user's, and ", Quoted(entry.name), " is ",
                              RoleName(entry.role)));
  return absl::OkStatus();
}

// A line that is neither empty nor a comment, without white space around it.
absl::StatusOr<KeyEntry> ParseLine(absl::string_view line) {
  KeyEntry entry;
  const size_t name_end = std::min(line.find_first_of(" \t"), line.size());
  entry.name = std::string(line.substr(0, name_end));
  line.remove_prefix(name_end);
  std::vector<std::string> seen;
  while (!(line = absl::StripLeadingAsciiWhitespace(line)).empty()) {
    ASSIGN_OR_RETURN(const Word word, TakeWord(line));
    if (std::count(seen.begin(), seen.end(), word.name) > 0)
      return Wrong(absl::StrCat("the word ", Quoted(word.name), " is given twice"));
    seen.push_back(word.name);
    RETURN_IF_ERROR(ReadWord(word, entry));
  }
  RETURN_IF_ERROR(CheckEntry(entry));
  return entry;
}

// What may be given once, and the lines where it was.
class Uniqueness {
 public:
  absl::Status Add(const KeyEntry& entry, int line) {
    RETURN_IF_ERROR(AddOne("name", entry.name, line));
    if (entry.hash) RETURN_IF_ERROR(AddOne("ID of a key,", entry.hash->id, line));
    return entry.subject.empty() ? absl::OkStatus() : AddOne("subject", entry.subject, line);
  }

 private:
  absl::Status AddOne(absl::string_view what, const std::string& value, int line) {
    const auto [first, is_new] = lines_.try_emplace(absl::StrCat(what, " ", value), line);
    if (is_new) return absl::OkStatus();
    return Wrong(absl::StrCat("the ", what, " ", Quoted(value), " is in line ", first->second, " already"));
  }

  absl::flat_hash_map<std::string, int> lines_;
};

}  // namespace

absl::string_view RoleName(KeyRole role) { return kRoleNames[static_cast<size_t>(role)]; }

absl::StatusOr<std::vector<KeyEntry>> ParseKeyFile(absl::string_view path, absl::string_view content) {
  std::vector<KeyEntry> entries;
  Uniqueness uniqueness;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::StatusOr<KeyEntry> entry = ParseLine(line);
    absl::Status status = entry.ok() ? uniqueness.Add(*entry, number) : entry.status();
    if (status.ok() && entries.size() == kMaxKeys)
      status = Wrong(absl::StrCat("there may be at most ", kMaxKeys, " keys"));
    if (!status.ok()) return Wrong(absl::StrCat(path, ":", number, ": ", status.message()));
    entries.push_back(*std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<KeyEntry>> ReadKeyFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadRegularFile(path, kMaxKeyFileBytes));
  return ParseKeyFile(path, content);
}

absl::StatusOr<std::string> FormatKeyEntry(const KeyEntry& entry) {
  for (const std::string& value : {entry.subject, entry.tenant})
    if (absl::StrContains(value, '"')) return Wrong("subject and tenant may have no double quotes");
  std::string line = entry.name;
  const auto add = [&line](absl::string_view name, const auto& value) {
    if (value) absl::StrAppend(&line, " ", name, "=", *value);
  };
  if (entry.hash) absl::StrAppend(&line, " key=", entry.hash->Text());
  if (!entry.subject.empty()) absl::StrAppend(&line, " subject=\"", entry.subject, "\"");
  if (entry.role != KeyRole::kUser) absl::StrAppend(&line, " role=", RoleName(entry.role));
  if (!entry.tenant.empty()) absl::StrAppend(&line, " tenant=\"", entry.tenant, "\"");
  if (entry.any_tenant) absl::StrAppend(&line, " tenants=any");
  add("running", entry.limits.running);
  add("queued", entry.limits.queued);
  add("tokens_per_minute", entry.limits.tokens_per_minute);
  add("kv_pages", entry.limits.kv_pages);
  ASSIGN_OR_RETURN(const KeyEntry read, ParseLine(line));
  if (read != entry) return Wrong("the entry would not be read again as it is");
  return line;
}

absl::StatusOr<KeyLimits> ParseKeyLimits(absl::string_view text) {
  KeyLimits limits;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) return Wrong("an empty limit");
    ASSIGN_OR_RETURN(const Word word, TakeWord(part));
    ASSIGN_OR_RETURN(const bool is_limit, ReadLimitWord(word, limits));
    if (!is_limit || !part.empty())
      return Wrong(absl::StrCat("there is no limit ", Quoted(word.name),
                                "; there are running, queued, tokens_per_minute and kv_pages"));
  }
  return limits;
}

}  // namespace ropeway::server
