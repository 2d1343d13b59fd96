// A device that executes kernels on the CPU, and is stricter than a real one.
//
// What is put on a stream runs only when somebody waits for it (lazy streams), so that a missing wait shows
// as old data. Copies between host and device must stay inside one allocation and use pinned host memory.
// Only the thread that called Bind() last for this device may call it. A kernel that fails leaves
// kKernelFailed, which stays, as the loss of a context does; Describe says what happened, where, and which
// threads wait for what.
//
// A dependent kernel begins before the kernel in front of it runs, where it has few threads and a single OS
// thread runs everything: what it reads too early is old, what it writes too early is overwritten.
//
// Thread-safe as Runtime is. Several devices are several objects, which share nothing.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_RUNTIME_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_RUNTIME_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/shared_bytes.h"
#include "tests/cuda_emulation/block_executor.h"
#include "tests/cuda_emulation/device_memory.h"

namespace ropeway::cuda::emulation {

// Codes have CUDA's values.
inline constexpr ErrorCode kSuccess = 0;
inline constexpr ErrorCode kInvalidValue = 1;
inline constexpr ErrorCode kOutOfMemory = 2;
inline constexpr ErrorCode kInvalidConfiguration = 9;
inline constexpr ErrorCode kInvalidHandle = 400;
inline constexpr ErrorCode kKernelFailed = 719;
inline constexpr ErrorCode kNotSupported = 801;
inline constexpr ErrorCode kCaptureUnsupported = 900;

struct RuntimeOptions {
  Schedule schedule = Schedule::kFifo;
  uint64_t seed = 1;   // of kRandom
  int os_threads = 1;  // that share the blocks of a launch
  bool lazy_streams = true;
  size_t memory_bytes = size_t{1} << 30;
  size_t pinned_bytes = SIZE_MAX;              // of the host, in all
  size_t shared_bytes_max = kMostSharedBytes;  // per block
  std::string name = "emulated device";
  int major = 8, minor = 0;
  bool tensor_maps = true;  // whether the driver knows them: of devices from 9.0 on
  int processors = 4;
};

// What a step of the engine should do rarely.
struct CallCounts {
  int allocations = 0;  // of device or pinned memory
  int waits = 0;        // of the host: for a stream or an event, and where memory is freed
};

class EmulatedRuntime final : public Runtime {
 public:
  explicit EmulatedRuntime(RuntimeOptions options = {});
  ~EmulatedRuntime() override;

  ErrorCode Bind() override;
  ErrorCode Info(DeviceInfo* info) override;
  ErrorCode Malloc(void** memory, size_t bytes) override;
  ErrorCode Free(void* memory) override;
  ErrorCode MallocHost(void** memory, size_t bytes) override;
  ErrorCode FreeHost(void* memory) override;
  ErrorCode CreateStream(Stream* stream) override;
  ErrorCode DestroyStream(Stream stream) override;
  ErrorCode Synchronize(Stream stream) override;
  ErrorCode CreateEvent(Event* event) override;
  ErrorCode DestroyEvent(Event event) override;
  ErrorCode Record(Event event, Stream stream) override;
  ErrorCode Wait(Event event) override;
  ErrorCode Copy(void* to, const void* from, size_t bytes, CopyKind kind, Stream stream) override;
  ErrorCode Fill(void* memory, int byte, size_t bytes, Stream stream) override;
  ErrorCode EncodeTensorMap(const TensorMapLayout& layout, TensorMap* map) override;
  ErrorCode BeginCapture(Stream stream) override;
  ErrorCode EndCapture(Stream stream, Graph* graph) override;
  ErrorCode Launch(Graph graph, Stream stream) override;
  ErrorCode DestroyGraph(Graph graph) override;
  std::string Describe(ErrorCode code) const override;
  bool IsFatal(ErrorCode code) const override { return code == kKernelFailed; }

  // For tests: the call after `calls` more, of any kind but Describe and IsFatal, fails with `code`. A fatal
  // code stays.
  void InjectError(ErrorCode code, int calls);
  CallCounts counts() const;

 private:
  friend ErrorCode LaunchKernel(Stream stream, const LaunchShape& shape, std::function<void()> body);
  friend ErrorCode EnqueueOnHost(Stream stream, std::function<void()> work);

  // `begin`, of a dependent kernel, is called before the work in front of it is done; it may be null.
  struct Work {
    std::function<ErrorCode()> run;
    std::function<void()> begin = nullptr;
  };
  struct EarlyKernel;
  struct StreamState;
  struct EventState;
  struct GraphState;

  ErrorCode Enter(bool allowed_in_capture);
  ErrorCode EnterAllocation();
  ErrorCode EnterWait();
  ErrorCode TakeInjectedError();
  ErrorCode Refuse(ErrorCode code, std::string why) const;
  ErrorCode Fail(std::string why);
  StreamState* Find(Stream stream) const;
  ErrorCode Enqueue(Stream stream, Work work);
  ErrorCode RunUntil(StreamState& stream, uint64_t count);
  ErrorCode RunAll();
  ErrorCode CheckLaunch(const LaunchShape& shape) const;
  Work EarlyWork(const LaunchShape& shape, std::function<void()> body);
  ErrorCode RunKernel(const LaunchShape& shape, const std::function<void()>& body);
  bool IsPinned(const void* address, size_t bytes) const;
  bool IsCapturing() const;

  const RuntimeOptions options_;
  DeviceMemory memory_;
  std::vector<std::unique_ptr<BlockExecutor>> executors_;       // [os_threads]
  std::vector<std::unique_ptr<BlockExecutor>> free_executors_;  // for blocks that begin early
  std::vector<std::unique_ptr<StreamState>> streams_;
  uint64_t num_launches_ = 0;
  ErrorCode lost_ = kSuccess;  // the error that stays

  mutable std::mutex mutex_;  // of what follows
  int injected_calls_ = -1;   // until the injected error; -1: none
  ErrorCode injected_code_ = kSuccess;
  CallCounts counts_;
  std::map<uintptr_t, size_t> pinned_;
  size_t pinned_bytes_ = 0;
  mutable std::map<ErrorCode, std::string> details_;  // the last of each code
};

// Puts work of the host on a stream, in its order: what a library (a matrix product, a collective) would
// launch. It may read and write device memory.
ErrorCode EnqueueOnHost(Stream stream, std::function<void()> work);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_RUNTIME_H_
