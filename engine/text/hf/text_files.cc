#include "engine/text/hf/text_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"

namespace ropeway::hf {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = 256 << 20;

}  // namespace

absl::StatusOr<std::optional<std::string>> ReadTextFile(const std::string& folder, const std::string& name) {
  absl::StatusOr<std::string> text = ReadRegularFile((fs::path(folder) / name).string(), kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  RETURN_IF_ERROR(text.status());
  return *std::move(text);
}

absl::StatusOr<Json> ReadJsonOrEmpty(const std::string& folder, const std::string& name) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadTextFile(folder, name));
  if (!text.has_value()) return Json::object();
  return ParseJsonFile(*text, name);
}

std::vector<std::string> NamesWith(const std::string& folder, const std::string& extension) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (absl::EndsWith(name, extension)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ropeway::hf
