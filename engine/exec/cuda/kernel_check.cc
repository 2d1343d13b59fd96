#include "engine/exec/cuda/kernel_check.h"

#include <cstring>
#include <utility>

#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/tensor/half.h"

namespace ropeway {

std::vector<float> EvenNumbers(int64_t count, uint64_t seed) {
  std::vector<float> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(2 * UnitInterval(seed, i) - 1);
  return numbers;
}

std::vector<float> UnevenNumbers(int64_t count, uint64_t seed) {
  std::vector<float> numbers = EvenNumbers(count, seed);
  for (size_t i = 0; i < numbers.size(); i += 3) numbers[i] *= 0x1p-5f;
  return numbers;
}

std::vector<uint16_t> Rounded(cuda::Element element, const std::vector<float>& numbers) {
  std::vector<uint16_t> codes;
  for (const float number : numbers)
    codes.push_back(element == cuda::Element::kF16 ? FloatToHalf(number) : FloatToBFloat16(number));
  return codes;
}

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
