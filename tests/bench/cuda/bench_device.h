// A CUDA device whose operations are timed: memory for their arguments, and seconds per call.
//
// Not thread-safe. Functions that return pointers give null once the device has failed; what failed first is
// what Seconds then returns.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_BENCH_DEVICE_H_
#define ROPEWAY_TESTS_BENCH_CUDA_BENCH_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/kernels/cuda/backend.h"

namespace ropeway {

class BenchDevice {
 public:
  // A call of the operation; `repeat` counts calls, so that each may read other weights than the one before.
  using Call = std::function<cuda::ErrorCode(int64_t repeat)>;

  // `pool_bytes` of device memory are filled with random numbers: weights, keys and values of all operations.
  // UNAVAILABLE where there is no device, RESOURCE_EXHAUSTED where its memory is too small.
  static absl::StatusOr<std::unique_ptr<BenchDevice>> Make(const cuda::Backend& backend, int64_t pool_bytes);
  ~BenchDevice();

  const cuda::DeviceInfo& info() const { return info_; }
  const cuda::KernelTable& kernels() const { return *backend_.kernels; }
  const cuda::Fp8KernelTable& fp8_kernels() const { return *backend_.fp8_kernels; }
  cuda::Gemm& gemm() { return *gemm_; }
  cuda::Runtime& runtime() { return *runtime_; }
  cuda::Stream stream() const { return stream_; }

  // The place of the repeat-th of several matrices side by side in the pool, 256-byte aligned: few repeats
  // find it in a cache. Its numbers are finite as f16, bf16 and f32. REQUIRES: bytes <= pool_bytes.
  uint8_t* FromPool(int64_t bytes, int64_t repeat) const;

  // Memory that lives until Clear, as an error does: filled with random numbers like the pool's, or with the given ones.
  void* Allocate(int64_t bytes);
  template <typename T>
  T* Upload(const std::vector<T>& values) {
    return static_cast<T*>(UploadBytes(values.data(), static_cast<int64_t>(values.size() * sizeof(T))));
  }
  void Clear();

  // The least seconds of a call, by the device's clock, among replays of graphs of many calls, which hide the launches' own
  // costs as in an engine's step. The first call, which may load and search, is not timed.
  absl::StatusOr<double> Seconds(const Call& call);

 private:
  BenchDevice(const cuda::Backend& backend, int64_t pool_bytes)
      : backend_(backend), pool_bytes_(pool_bytes) {}
  absl::Status Open();
  absl::Status FillPool();
  void* UploadBytes(const void* values, int64_t bytes);
  absl::StatusOr<double> TimeGraph(const Call& call, int calls, int replays);
  void Try(cuda::ErrorCode error, const char* what);

  const cuda::Backend& backend_;
  const int64_t pool_bytes_;
  std::unique_ptr<cuda::Runtime> runtime_;
  std::unique_ptr<cuda::Gemm> gemm_;
  std::unique_ptr<cuda::StreamClock> clock_;
  cuda::DeviceInfo info_;
  cuda::Stream stream_;
  uint8_t* pool_ = nullptr;
  std::vector<void*> buffers_;
  absl::Status status_;
};

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_BENCH_DEVICE_H_
