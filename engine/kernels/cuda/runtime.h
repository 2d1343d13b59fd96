// The CUDA runtime as the engine sees it: memory, streams and graphs.
//
// Plain C++: no CUDA header is needed to call it. Two implementations: one over the CUDA runtime
// (runtime.cc), one that executes on the CPU (tests/cuda_emulation). Every call returns a code, 0 for
// success; what a code means, Describe tells.
//
// Thread-safe as CUDA is: one thread at a time uses a stream; Malloc, Free and Describe may be called by any.
// A Runtime belongs to one device, and the thread that calls it must have called Bind() first.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_RUNTIME_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_RUNTIME_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/kernels/cuda/tensor_map.h"

namespace ropeway::cuda {

// A cudaError_t; 0 is success.
using ErrorCode = int;

struct Stream {
  void* native = nullptr;
};
// A place in a stream that the host can wait for.
struct Event {
  void* native = nullptr;
};
// A captured sequence of work, ready to run again.
struct Graph {
  void* native = nullptr;
};

enum class CopyKind { kHostToDevice, kDeviceToHost, kDeviceToDevice };

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int processors = 0;        // streaming multiprocessors
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  // Makes this device the calling thread's.
  virtual ErrorCode Bind() = 0;
  virtual ErrorCode Info(DeviceInfo* info) = 0;

  virtual ErrorCode Malloc(void** memory, size_t bytes) = 0;
  virtual ErrorCode Free(void* memory) = 0;
  virtual ErrorCode MallocHost(void** memory, size_t bytes) = 0;  // pinned
  virtual ErrorCode FreeHost(void* memory) = 0;

  virtual ErrorCode CreateStream(Stream* stream) = 0;
  virtual ErrorCode DestroyStream(Stream stream) = 0;
  virtual ErrorCode Synchronize(Stream stream) = 0;

  virtual ErrorCode CreateEvent(Event* event) = 0;
  virtual ErrorCode DestroyEvent(Event event) = 0;
  // From now on the event is behind what the stream has, and Wait waits for that and no more.
  virtual ErrorCode Record(Event event, Stream stream) = 0;
  virtual ErrorCode Wait(Event event) = 0;

  // Asynchronous, in the order of the stream. Host memory must be pinned and stay as it is until the copy is
  // done.
  virtual ErrorCode Copy(void* to, const void* from, size_t bytes, CopyKind kind, Stream stream) = 0;
  virtual ErrorCode Fill(void* memory, int byte, size_t bytes, Stream stream) = 0;

  // A map of device memory for bulk copies; a call of the host alone. An error, and none that is fatal, where the driver
  // knows no maps or takes no such layout.
  virtual ErrorCode EncodeTensorMap(const TensorMapLayout& layout, TensorMap* map) = 0;

  // What is launched on the stream between the two is recorded instead of run.
  virtual ErrorCode BeginCapture(Stream stream) = 0;
  virtual ErrorCode EndCapture(Stream stream, Graph* graph) = 0;
  virtual ErrorCode Launch(Graph graph, Stream stream) = 0;
  virtual ErrorCode DestroyGraph(Graph graph) = 0;

  // "cudaErrorMemoryAllocation: out of memory".
  virtual std::string Describe(ErrorCode code) const = 0;

  // Whether nothing can run on the device any more, so that only a new process helps.
  virtual bool IsFatal(ErrorCode code) const = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_RUNTIME_H_
