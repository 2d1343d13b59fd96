// AddToKeyFile and RemoveFromKeyFile.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "server/keys/key_file.h"

namespace ropeway::server {
namespace {

constexpr mode_t kOwnerOnly = 0600;

absl::Status SystemError(absl::string_view path, absl::string_view what) {
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": ", what));
}

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

absl::Status WriteAll(int file, absl::string_view text, absl::string_view path) {
  while (!text.empty()) {
    const ssize_t count = write(file, text.data(), text.size());
    if (count < 0 && errno != EINTR) return SystemError(path, "cannot be written");
    if (count > 0) text.remove_prefix(static_cast<size_t>(count));
  }
  return fsync(file) == 0 ? absl::OkStatus() : SystemError(path, "cannot be written");
}

// Owner and permissions of the old file are those of the new one.
absl::Status Replace(const std::string& path, absl::string_view content) {
  struct stat info = {.st_mode = kOwnerOnly};
  const bool is_new = stat(path.c_str(), &info) != 0;
  const std::string next = absl::StrCat(path, ".new");
  const Descriptor file(
      open(next.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kOwnerOnly));
  if (file.get() < 0) return SystemError(next, "cannot be written");
  // An owner that only root may set stays root's.
  const bool owned = is_new || fchown(file.get(), info.st_uid, info.st_gid) == 0;
  if (fchmod(file.get(), owned ? info.st_mode & 0777 : kOwnerOnly) != 0)
    return SystemError(next, "cannot be written");
  RETURN_IF_ERROR(WriteAll(file.get(), content, next));
  return rename(next.c_str(), path.c_str()) == 0 ? absl::OkStatus() : SystemError(path, "cannot be replaced");
}

// Reads the file, lets `edit` change its content, checks it, and replaces it; one at a time on this machine.
template <typename Edit>
absl::Status EditFile(const std::string& path, Edit edit) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor locked(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (locked.get() < 0 || flock(locked.get(), LOCK_EX) != 0) return SystemError(folder, "cannot be used");
  std::string content;
  absl::StatusOr<std::string> read = ReadRegularFile(path, kMaxKeyFileBytes);
  if (read.ok()) {
    content = *std::move(read);
  } else if (!absl::IsNotFound(read.status())) {
    return read.status();
  }
  ASSIGN_OR_RETURN(const std::vector<KeyEntry> entries, ParseKeyFile(path, content));
  RETURN_IF_ERROR(edit(entries, content));
  RETURN_IF_ERROR(ParseKeyFile(path, content).status());
  return Replace(path, content);
}

bool Names(absl::string_view line, absl::string_view name) {
  line = absl::StripLeadingAsciiWhitespace(line);
  if (!absl::ConsumePrefix(&line, name)) return false;
  return line.empty() || absl::ascii_isspace(static_cast<unsigned char>(line.front()));
}

bool Has(const std::vector<KeyEntry>& entries, absl::string_view name) {
  return std::any_of(entries.begin(), entries.end(), [name](const KeyEntry& e) { return e.name == name; });
}

}  // namespace

absl::Status AddToKeyFile(const std::string& path, const KeyEntry& entry) {
  ASSIGN_OR_RETURN(const std::string line, FormatKeyEntry(entry));
  return EditFile(path, [&](const std::vector<KeyEntry>& entries, std::string& content) {
    if (Has(entries, entry.name))
      return absl::AlreadyExistsError(absl::StrCat(path, " has a key \"", entry.name, "\" already"));
    if (!content.empty() && content.back() != '\n') content += '\n';
    absl::StrAppend(&content, line, "\n");
    return absl::OkStatus();
  });
}

absl::Status RemoveFromKeyFile(const std::string& path, absl::string_view name) {
  return EditFile(path, [&](const std::vector<KeyEntry>& entries, std::string& content) {
    if (!Has(entries, name)) return absl::NotFoundError(absl::StrCat(path, " has no key \"", name, "\""));
    std::string rest;
    for (const absl::string_view line : absl::StrSplit(content, absl::ByChar('\n')))
      if (!Names(line, name)) absl::StrAppend(&rest, line, "\n");
    // The piece behind the last end of a line is none.
    if (absl::EndsWith(content, "\n")) rest.pop_back();
    content = std::move(rest);
    return absl::OkStatus();
  });
}

}  // namespace ropeway::server
