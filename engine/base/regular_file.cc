#include "engine/base/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

absl::Status NoFile(const std::string& path, const char* kind) {
  return absl::InvalidArgumentError(absl::StrCat("'", path, "' is ", kind, ", not a regular file"));
}

}  // namespace

// Without O_NONBLOCK, open() waits until somebody writes to a named pipe.
absl::StatusOr<RegularFile> RegularFile::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    if (errno == ENXIO) return NoFile(path, "a socket or a device without a driver");
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  }
  RegularFile file(descriptor, 0);
  struct stat info;
  if (fstat(descriptor, &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at '", path, "'"));
  if (!S_ISREG(info.st_mode)) return NoFile(path, KindOf(info.st_mode));
  file.size_ = info.st_size;
  return file;
}

RegularFile::~RegularFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<std::string> ReadRegularFile(const std::string& path, int64_t max_bytes) {
  ASSIGN_OR_RETURN(const RegularFile file, RegularFile::Open(path));
  std::string content;
  char part[4096];
  for (ssize_t count; (count = read(file.descriptor(), part, sizeof part)) != 0;) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", path, "'"));
    content.append(part, static_cast<size_t>(count));
    if (static_cast<int64_t>(content.size()) > max_bytes)
      return absl::InvalidArgumentError(absl::StrCat("'", path, "' has more than ", max_bytes, " bytes"));
  }
  return content;
}

}  // namespace ropeway
