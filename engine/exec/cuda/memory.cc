#include "engine/exec/cuda/memory.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ropeway {

absl::Status CudaStatus(const cuda::Runtime& runtime, cuda::ErrorCode code, absl::string_view what) {
  if (code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", runtime.Describe(code)));
}

absl::StatusOr<CudaMemory> CudaMemory::Make(cuda::Runtime& runtime, MemoryKind kind, int64_t bytes,
                                            absl::string_view what) {
  CudaMemory memory;
  void* data = nullptr;
  const cuda::ErrorCode code =
      kind == MemoryKind::kDevice ? runtime.Malloc(&data, bytes) : runtime.MallocHost(&data, bytes);
  if (code != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes of ",
                                                     kind == MemoryKind::kDevice ? "device" : "pinned host",
                                                     " memory for ", what, ": ", runtime.Describe(code)));
  }
  memory.runtime_ = &runtime;
  memory.kind_ = kind;
  memory.data_ = static_cast<uint8_t*>(data);
  memory.bytes_ = bytes;
  return memory;
}

CudaMemory::~CudaMemory() {
  if (data_ == nullptr) return;
  // Nothing can be done about a failure: the context is going, or gone.
  if (kind_ == MemoryKind::kDevice) {
    runtime_->Free(data_);
  } else {
    runtime_->FreeHost(data_);
  }
}

CudaMemory::CudaMemory(CudaMemory&& other) noexcept { *this = std::move(other); }

CudaMemory& CudaMemory::operator=(CudaMemory&& other) noexcept {
  std::swap(runtime_, other.runtime_);
  std::swap(kind_, other.kind_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace ropeway
