#include "client/cli/numbers.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"

namespace ropeway::client {
namespace {

constexpr size_t kMaxQuotedBytes = 40;

}  // namespace

std::string Quoted(absl::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isgraph);
  const absl::string_view shown = text.substr(0, kMaxQuotedBytes);
  const char* const rest = shown.size() < text.size() ? "..." : "";
  return plain ? absl::StrCat(shown, rest) : absl::StrCat("'", absl::CEscape(shown), rest, "'");
}

absl::StatusOr<std::vector<int32_t>> ParseIds(absl::string_view text) {
  std::vector<int32_t> ids;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::StatusOr<int32_t> id = ParseNumber<int32_t>(part);
    if (!id.ok()) return id.status();
    ids.push_back(*id);
  }
  return ids;
}

CLI::Option* AddIds(CLI::App& command, const std::string& name, std::vector<int32_t>& ids,
                    const std::string& help) {
  const auto take = [&ids](const std::vector<std::string>& lists) {
    for (const std::string& list : lists) {
      const absl::StatusOr<std::vector<int32_t>> parsed = ParseIds(list);
      if (parsed.ok()) ids.insert(ids.end(), parsed->begin(), parsed->end());
    }
  };
  const auto check = [](const std::string& list) {
    const absl::StatusOr<std::vector<int32_t>> parsed = ParseIds(list);
    return parsed.ok() ? std::string() : absl::StrCat("an id ", parsed.status().message());
  };
  return command.add_option_function<std::vector<std::string>>(name, take, help)
      ->check(CLI::Validator(check, "", ""))
      ->type_name("IDS");
}

}  // namespace ropeway::client
