#include "engine/exec/cuda/kernel_check.h"

#include <cstring>
#include <utility>

#include "engine/base/status_macros.h"

namespace ropeway {

KernelCheck::KernelCheck(cuda::Runtime& runtime, cuda::Stream stream, std::string doing)
    : runtime_(runtime), stream_(stream), doing_(std::move(doing)) {}

absl::StatusOr<CudaMemory> KernelCheck::Room(int64_t bytes) const {
  return CudaMemory::Make(runtime_, MemoryKind::kDevice, bytes, "a check");
}

absl::StatusOr<CudaMemory> KernelCheck::PutBytes(absl::Span<const uint8_t> bytes) const {
  const auto size = static_cast<int64_t>(bytes.size());
  ASSIGN_OR_RETURN(const CudaMemory pinned, CudaMemory::Make(runtime_, MemoryKind::kPinned, size, "a check"));
  ASSIGN_OR_RETURN(CudaMemory memory, Room(size));
  std::memcpy(pinned.data(), bytes.data(), bytes.size());
  RETURN_IF_ERROR(
      Check(runtime_.Copy(memory.data(), pinned.data(), size, cuda::CopyKind::kHostToDevice, stream_)));
  RETURN_IF_ERROR(Check(runtime_.Synchronize(stream_)));
  return memory;
}

absl::Status KernelCheck::MakeOutput(int64_t bytes) {
  ASSIGN_OR_RETURN(output_, Room(bytes));
  ASSIGN_OR_RETURN(read_, CudaMemory::Make(runtime_, MemoryKind::kPinned, bytes, "a check"));
  return absl::OkStatus();
}

absl::Status KernelCheck::FillOutput(int byte) const {
  return Check(runtime_.Fill(output_.data(), byte, output_.bytes(), stream_));
}

absl::StatusOr<std::vector<uint8_t>> KernelCheck::ReadOutput() const {
  RETURN_IF_ERROR(Check(
      runtime_.Copy(read_.data(), output_.data(), output_.bytes(), cuda::CopyKind::kDeviceToHost, stream_)));
  RETURN_IF_ERROR(Check(runtime_.Synchronize(stream_)));
  return std::vector<uint8_t>(read_.data(), read_.data() + output_.bytes());
}

}  // namespace ropeway
