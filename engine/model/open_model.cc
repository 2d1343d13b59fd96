#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_model.h"
#include "engine/model/hf_model.h"
#include "engine/model/tensor_source.h"

namespace ropeway {
namespace {

// Who fetches a model as GGUF often has a folder of such files, of which one, or the first of several, is meant.
absl::Status CheckFolder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder + "/config.json", error) || error) return absl::OkStatus();
  std::string first;
  for (std::filesystem::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error))
    if (const std::string path = file->path().string();
        file->path().extension() == ".gguf" && (first.empty() || path < first))
      first = path;
  if (first.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", folder, "' has no config.json, but GGUF files: give one of them instead, such as '", first, "'"));
}

}  // namespace

absl::StatusOr<OpenedModel> OpenModel(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  if (!S_ISDIR(info.st_mode)) return OpenGgufModel(path);
  RETURN_IF_ERROR(CheckFolder(path));
  return OpenHfModel(path);
}

}  // namespace ropeway
