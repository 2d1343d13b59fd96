#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_model.h"
#include "engine/model/hf_model.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

absl::StatusOr<OpenedModel> OpenModel(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  return S_ISDIR(info.st_mode) ? OpenHfModel(path) : OpenGgufModel(path);
}

}  // namespace ropeway
