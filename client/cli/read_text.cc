#include "client/cli/read_text.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/stubs/common.h"

namespace ropeway::client {
namespace {

constexpr size_t kPieceBytes = 1 << 16;
constexpr absl::Duration kWriterPollInterval = absl::Milliseconds(10);

absl::Status SystemError(int error) { return absl::InvalidArgumentError(std::strerror(error)); }

absl::Status TooLarge() {
  return absl::InvalidArgumentError(absl::StrCat("it has more than ", kMaxTextBytes, " bytes"));
}

// A descriptor that is closed at the end.
class OpenedFile {
 public:
  // Does not wait for a writer, as opening a named pipe else would.
  explicit OpenedFile(const std::string& path)
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenedFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;

  int descriptor() const { return descriptor_; }
  bool IsPipe() const {
    struct stat info;
    return fstat(descriptor_, &info) == 0 && S_ISFIFO(info.st_mode);
  }

 private:
  const int descriptor_;
};

absl::StatusOr<std::string> ReadPath(const std::string& path) {
  const OpenedFile file(path);
  if (file.descriptor() < 0) return SystemError(errno);
  const bool is_pipe = file.IsPipe();
  const absl::Time patience_ends = absl::Now() + kWriterPatience;
  std::string text;
  std::string piece(kPieceBytes, '\0');
  while (text.size() <= kMaxTextBytes) {
    const ssize_t size = read(file.descriptor(), piece.data(), piece.size());
    if (size > 0) {
      text.append(piece, 0, static_cast<size_t>(size));
    } else if (size == 0) {
      if (!is_pipe || !text.empty()) return text;
      if (absl::Now() >= patience_ends) return absl::InvalidArgumentError("nobody writes into this pipe");
      absl::SleepFor(kWriterPollInterval);
    } else if (errno == EAGAIN) {
      // Somebody holds the other end and has not written yet.
      pollfd readable{.fd = file.descriptor(), .events = POLLIN, .revents = 0};
      poll(&readable, 1, -1);
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
  return TooLarge();
}

absl::StatusOr<std::string> ReadStream(std::istream& in) {
  std::string text;
  std::string piece(kPieceBytes, '\0');
  while (text.size() <= kMaxTextBytes) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (in.gcount() == 0) return text;
    text.append(piece, 0, static_cast<size_t>(in.gcount()));
  }
  return TooLarge();
}

absl::Status CheckText(const std::string& text) {
  if (text.empty()) return absl::InvalidArgumentError("it is empty");
  if (!google::protobuf::internal::IsStructurallyValidUTF8(text.data(), static_cast<int>(text.size())))
    return absl::InvalidArgumentError("it is not UTF-8");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadText(absl::string_view flag, const std::string& path, Terminal& terminal) {
  const bool is_stream = path == "-";
  absl::StatusOr<std::string> text = is_stream ? ReadStream(terminal.in) : ReadPath(path);
  const absl::Status status = text.ok() ? CheckText(*text) : text.status();
  if (status.ok()) return text;
  const std::string name = is_stream ? "standard input" : absl::StrCat("'", absl::Utf8SafeCEscape(path), "'");
  return absl::InvalidArgumentError(absl::StrCat(flag, ": cannot read ", name, ": ", status.message()));
}

}  // namespace ropeway::client
