// Opens files that somebody named: for reading, and only what is a file.
//
// A named pipe, a device, a socket or a folder is refused at once, in words, instead of being waited for.
// Movable, not copyable; as thread-safe as its descriptor.
#ifndef ROPEWAY_ENGINE_BASE_REGULAR_FILE_H_
#define ROPEWAY_ENGINE_BASE_REGULAR_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace ropeway {

class RegularFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (no regular file), naming the path.
  static absl::StatusOr<RegularFile> Open(const std::string& path);

  RegularFile(RegularFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}
  RegularFile& operator=(RegularFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~RegularFile();

  int descriptor() const { return descriptor_; }
  int64_t size() const { return size_; }  // in bytes, when it was opened

 private:
  RegularFile(int descriptor, int64_t size) : descriptor_(descriptor), size_(size) {}

  int descriptor_ = -1;
  int64_t size_ = 0;
};

// The content of a file that has at most `max_bytes`; INVALID_ARGUMENT where it has more.
absl::StatusOr<std::string> ReadRegularFile(const std::string& path, int64_t max_bytes);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_REGULAR_FILE_H_
