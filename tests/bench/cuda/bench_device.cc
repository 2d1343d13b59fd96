#include "tests/bench/cuda/bench_device.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kStagingBytes = int64_t{16} << 20;
constexpr double kGraphSeconds = 2e-3;   // of one replay, where a call is not longer
constexpr double kTimedSeconds = 20e-3;  // of all replays
constexpr int kMaxCalls = 256;           // of a graph
constexpr int kMinReplays = 3, kMaxReplays = 10;

// bf16 numbers in (-1, 1): two neighbours are a float32, and each is a finite f16.
void FillWithNumbers(uint16_t* numbers, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t random = SplitMix(static_cast<uint64_t>(i) * kGoldenRatio64);
    const float value = static_cast<float>(static_cast<int32_t>(random)) * 0x1p-31f;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    numbers[i] = static_cast<uint16_t>(bits >> 16);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<BenchDevice>> BenchDevice::Make(const cuda::Backend& backend,
                                                               int64_t pool_bytes) {
  std::unique_ptr<BenchDevice> device(new BenchDevice(backend, pool_bytes));
  RETURN_IF_ERROR(device->Open());
  RETURN_IF_ERROR(device->FillPool());
  return device;
}

BenchDevice::~BenchDevice() {
  if (runtime_ == nullptr) return;
  Clear();
  if (pool_ != nullptr) runtime_->Free(pool_);
  gemm_.reset();
  clock_.reset();
  if (stream_.native != nullptr) runtime_->DestroyStream(stream_);
}

absl::Status BenchDevice::Open() {
  const char* error = nullptr;
  if (backend_.device_count(&error) == 0)
    return absl::UnavailableError(absl::StrCat("no usable CUDA device: ", error == nullptr ? "" : error));
  runtime_.reset(backend_.make_runtime(0, &error));
  if (runtime_ == nullptr) return absl::UnavailableError(error);
  Try(runtime_->Bind(), "binding the device");
  Try(runtime_->Info(&info_), "asking the device");
  Try(runtime_->CreateStream(&stream_), "making a stream");
  RETURN_IF_ERROR(status_);
  gemm_.reset(backend_.make_gemm(*runtime_, {}, &error));
  if (gemm_ == nullptr) return absl::UnavailableError(error);
  clock_.reset(backend_.make_stream_clock());
  void* pool = nullptr;
  Try(runtime_->Malloc(&pool, static_cast<size_t>(pool_bytes_)), "allocating the pool");
  pool_ = static_cast<uint8_t*>(pool);
  return status_.ok() ? absl::OkStatus() : absl::ResourceExhaustedError(status_.message());
}

absl::Status BenchDevice::FillPool() {
  const int64_t piece = std::min(kStagingBytes, pool_bytes_);
  void* staging = nullptr;
  Try(runtime_->MallocHost(&staging, static_cast<size_t>(piece)), "allocating pinned memory");
  RETURN_IF_ERROR(status_);
  FillWithNumbers(static_cast<uint16_t*>(staging), piece / 2);
  for (int64_t begin = 0; begin < pool_bytes_; begin += piece) {
    const auto bytes = static_cast<size_t>(std::min(piece, pool_bytes_ - begin));
    Try(runtime_->Copy(pool_ + begin, staging, bytes, cuda::CopyKind::kHostToDevice, stream_), "copying");
  }
  Try(runtime_->Synchronize(stream_), "filling the pool");
  runtime_->FreeHost(staging);
  return status_;
}

uint8_t* BenchDevice::FromPool(int64_t bytes, int64_t repeat) const {
  const int64_t step = CeilDiv(bytes, kAlignment) * kAlignment;
  const int64_t places = std::max<int64_t>(pool_bytes_ / step, 1);
  return pool_ == nullptr ? nullptr : pool_ + repeat % places * step;
}

void* BenchDevice::Allocate(int64_t bytes) {
  void* memory = nullptr;
  Try(runtime_->Malloc(&memory, static_cast<size_t>(bytes)), "allocating an operand");
  if (memory == nullptr) return nullptr;
  buffers_.push_back(memory);
  for (int64_t begin = 0; begin < bytes; begin += pool_bytes_) {
    const auto part = static_cast<size_t>(std::min(pool_bytes_, bytes - begin));
    Try(runtime_->Copy(static_cast<uint8_t*>(memory) + begin, pool_, part, cuda::CopyKind::kDeviceToDevice,
                       stream_),
        "filling an operand");
  }
  return memory;
}

void* BenchDevice::UploadBytes(const void* values, int64_t bytes) {
  void* memory = nullptr;
  void* staging = nullptr;
  Try(runtime_->Malloc(&memory, static_cast<size_t>(bytes)), "allocating an operand");
  Try(runtime_->MallocHost(&staging, static_cast<size_t>(bytes)), "allocating pinned memory");
  if (memory == nullptr || staging == nullptr) return nullptr;
  buffers_.push_back(memory);
  std::memcpy(staging, values, static_cast<size_t>(bytes));
  Try(runtime_->Copy(memory, staging, static_cast<size_t>(bytes), cuda::CopyKind::kHostToDevice, stream_),
      "copying an operand");
  Try(runtime_->Synchronize(stream_), "copying an operand");
  runtime_->FreeHost(staging);
  return memory;
}

void BenchDevice::Clear() {
  runtime_->Synchronize(stream_);
  for (void* buffer : buffers_) runtime_->Free(buffer);
  buffers_.clear();
  status_ = absl::OkStatus();
}

absl::StatusOr<double> BenchDevice::Seconds(const Call& call) {
  RETURN_IF_ERROR(status_);
  for (int64_t i = 0; i < 2; ++i) Try(call(i), "the first calls");
  Try(runtime_->Synchronize(stream_), "the first calls");
  RETURN_IF_ERROR(status_);
  ASSIGN_OR_RETURN(const double once, TimeGraph(call, 1, kMinReplays));
  const auto times = [](double all, double one, double least, double most) {
    return static_cast<int>(std::clamp(all / std::max(one, 1e-7), least, most));
  };
  const int calls = times(kGraphSeconds, once, 1, kMaxCalls);
  return TimeGraph(call, calls, times(kTimedSeconds, once * calls, kMinReplays, kMaxReplays));
}

// Replays stand one behind the other in the stream, so that the device waits for the host before the first one alone.
absl::StatusOr<double> BenchDevice::TimeGraph(const Call& call, int calls, int replays) {
  cuda::Graph graph;
  Try(runtime_->BeginCapture(stream_), "capturing");
  for (int i = 0; i < calls; ++i) Try(call(i), "a call that is captured");
  Try(runtime_->EndCapture(stream_, &graph), "capturing");
  RETURN_IF_ERROR(status_);
  for (int replay = 0; replay <= replays; ++replay) {
    Try(runtime_->Launch(graph, stream_), "launching");
    Try(clock_->Mark(replay, stream_), "launching");
  }
  Try(runtime_->Synchronize(stream_), "running");
  float least = 1e9;
  for (int replay = 0; replay < replays; ++replay) {
    float milliseconds = 0;
    Try(clock_->Elapsed(replay, replay + 1, &milliseconds), "taking the time");
    least = std::min(least, milliseconds);
  }
  Try(runtime_->DestroyGraph(graph), "destroying a graph");
  RETURN_IF_ERROR(status_);
  return double{least} * 1e-3 / calls;
}

void BenchDevice::Try(cuda::ErrorCode error, const char* what) {
  if (error == 0 || !status_.ok()) return;
  const bool of_gemm = error >= cuda::kFirstGemmError && gemm_ != nullptr;
  status_ = absl::InternalError(
      absl::StrCat(what, ": ", of_gemm ? gemm_->Describe(error) : runtime_->Describe(error)));
}

}  // namespace ropeway
