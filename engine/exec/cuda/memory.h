// Owners of device memory, and the calls of a cuda::Runtime as Status.
//
// Not thread-safe: an object is used by the thread that its Runtime is bound to.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

// INTERNAL saying what failed and why; OK for code 0.
absl::Status CudaStatus(const cuda::Runtime& runtime, cuda::ErrorCode code, absl::string_view what);

enum class MemoryKind { kDevice, kPinned };

// A block of memory of a Runtime, which outlives it. Movable.
class CudaMemory {
 public:
  CudaMemory() = default;
  ~CudaMemory();
  CudaMemory(CudaMemory&& other) noexcept;
  CudaMemory& operator=(CudaMemory&& other) noexcept;

  // RESOURCE_EXHAUSTED naming `what` and the bytes where the runtime has not as much.
  static absl::StatusOr<CudaMemory> Make(cuda::Runtime& runtime, MemoryKind kind, int64_t bytes,
                                         absl::string_view what);

  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  cuda::Runtime* runtime_ = nullptr;
  MemoryKind kind_ = MemoryKind::kDevice;
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Cuts arrays out of one block, each at a multiple of 256 bytes. Over a null block it counts: the same code
// first sizes a block and then carves it.
class Carver {
 public:
  explicit Carver(uint8_t* block) : block_(block) {}

  uint8_t* TakeBytes(int64_t bytes) {
    uint8_t* taken = block_ == nullptr ? nullptr : block_ + used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return taken;
  }
  template <typename T>
  T* Take(int64_t count) {
    return reinterpret_cast<T*>(TakeBytes(count * static_cast<int64_t>(sizeof(T))));
  }

  int64_t used() const { return used_; }

 private:
  static constexpr int64_t kAlignment = 256;
  uint8_t* const block_;
  int64_t used_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_MEMORY_H_
