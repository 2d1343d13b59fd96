#include "engine/text/hf/text_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"

namespace ropeway::hf {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFileBytes = 256 << 20;

}  // namespace

absl::StatusOr<std::optional<std::string>> ReadTextFile(const std::string& folder, const std::string& name) {
  const fs::path path = fs::path(folder) / name;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return std::nullopt;
  const std::string shown = Printable(path.string());
  // A pipe would be waited for.
  if (status.type() != fs::file_type::regular) {
    return absl::InvalidArgumentError(absl::StrCat(shown, " must be a regular file that can be read"));
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(shown, " must have at most ", kMaxFileBytes, " bytes"));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", shown));
  }
  return text;
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
