#include "engine/exec/cuda/backend.h"

#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

constexpr char kLibrary[] = "libropeway_cuda.so";
constexpr char kDriver[] = "libcuda.so.1";

absl::Status FindDriver() {
  void* driver = dlopen(kDriver, RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return absl::UnavailableError(absl::StrCat("there is no CUDA driver: ", dlerror()));
  dlclose(driver);
  return absl::OkStatus();
}

bool MayExist(const std::string& path) {
  return path.find('/') == std::string::npos || access(path.c_str(), F_OK) == 0;
}

absl::StatusOr<const cuda::Backend*> Open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::UnavailableError(dlerror());
  const auto function = reinterpret_cast<cuda::BackendFunction>(dlsym(library, cuda::kBackendSymbol));
  if (function == nullptr) return absl::UnavailableError(absl::StrCat(path, ": ", dlerror()));
  const cuda::Backend* backend = function();
  if (backend->version == cuda::kBackendVersion) return backend;
  return absl::UnavailableError(absl::StrCat(path, " is of another build: its version must be ",
                                             cuda::kBackendVersion, ", is ", backend->version));
}

}  // namespace

absl::StatusOr<const cuda::Backend*> OpenCudaBackend(absl::Span<const std::string> paths) {
  for (const std::string& path : paths)
    if (MayExist(path)) return Open(path);
  return absl::UnavailableError(absl::StrCat("there is none of ", absl::StrJoin(paths, ", ")));
}

absl::StatusOr<const cuda::Backend*> OpenCudaBackend() {
  RETURN_IF_ERROR(FindDriver());
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  std::vector<std::string> paths;
  if (!error) {
    paths.push_back(program.parent_path() / kLibrary);
    paths.push_back(program.parent_path().parent_path() / "lib" / kLibrary);
  }
  paths.push_back(kLibrary);
  return OpenCudaBackend(paths);
}

}  // namespace ropeway
