// A file mapped read-only into memory.
//
// Movable, not copyable. The bytes stay valid as long as the object and the file are: where somebody
// truncates the file meanwhile, reading them ends the process, which ExplainLostMappings() lets say why.
// (Whoever replaces a file by renaming another over it takes nothing from those who have it open.)
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

  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(place_, other.place_);
    return *this;
  }
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const uint8_t* data, size_t size, int place) : data_(data), size_(size), place_(place) {}

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  int place_ = -1;  // among the known mappings
};

// From now on a process that reads bytes which a mapped file has no more ends with exit code 1 and one line
// on standard error that names file and offset. For main programs: it takes the signal SIGBUS.
void ExplainLostMappings();

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_MAPPED_FILE_H_
