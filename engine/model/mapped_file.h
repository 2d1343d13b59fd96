// A file mapped read-only into memory.
//
// Movable, not copyable. The bytes stay valid as long as the object; whoever truncates the file meanwhile
// kills the process, as with every memory map.
#ifndef ROPEWAY_ENGINE_MODEL_MAPPED_FILE_H_
#define ROPEWAY_ENGINE_MODEL_MAPPED_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace ropeway {

class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (not a regular file, or empty), naming the path.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_MAPPED_FILE_H_
