// What checks of a kernel against another one share: numbers, their place on the device, and an output that is
// read back.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_KERNEL_CHECK_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_KERNEL_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/exec/cuda/memory.h"
#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// Random numbers in [-1, 1).
std::vector<float> EvenNumbers(int64_t count, uint64_t seed);
// The same of very different size, so that sums have much to round.
std::vector<float> UnevenNumbers(int64_t count, uint64_t seed);
// As f16 or bf16. REQUIRES: `element` has 16 bits.
std::vector<uint16_t> Rounded(cuda::Element element, const std::vector<float>& numbers);

// For one thread, which is bound to the device. All calls wait for the stream.
class KernelCheck {
 public:
  // Errors say that it was `doing` so.
  KernelCheck(cuda::Runtime& runtime, cuda::Stream stream, std::string doing);

  cuda::Stream stream() const { return stream_; }
  absl::Status Check(cuda::ErrorCode code) const { return CudaStatus(runtime_, code, doing_); }

  absl::StatusOr<CudaMemory> Room(int64_t bytes) const;
  template <typename T>
  absl::StatusOr<CudaMemory> Put(const std::vector<T>& values) const {
    return PutBytes({reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)});
  }

  // Memory of so many bytes for what kernels write; once.
  absl::Status MakeOutput(int64_t bytes);
  uint8_t* output() const { return output_.data(); }
  // So that what a kernel leaves out is seen.
  absl::Status FillOutput(int byte) const;
  absl::StatusOr<std::vector<uint8_t>> ReadOutput() const;

 private:
  absl::StatusOr<CudaMemory> PutBytes(absl::Span<const uint8_t> bytes) const;

  cuda::Runtime& runtime_;
  const cuda::Stream stream_;
  const std::string doing_;
  CudaMemory output_, read_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_KERNEL_CHECK_H_
