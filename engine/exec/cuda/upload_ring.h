// Bytes on their way to a device: helpers fill pinned buffers, from where they are copied while others are filled.
//
// One thread, whose device the runtime is, makes the ring and calls Put and Finish: it alone speaks to the device.
// Helpers call Work, and return from it after Close. Memory of the host is bounded by the buffers: Put waits
// where all of them are on their way. A buffer is filled again only when what was copied from it has arrived.
//
//   free  --Put-->  waiting to be filled  --helper-->  filled  --copied by the next Put or Finish-->  free
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_UPLOAD_RING_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_UPLOAD_RING_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/exec/cuda/memory.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

struct UploadRingOptions {
  int buffers = 8;  // at most: as many are made as are needed at a time, and as pinned memory is to be had for
  int64_t buffer_bytes = int64_t{8} << 20;
};

class UploadRing {
 public:
  // A part of a filled buffer, and where it goes in device memory.
  struct Run {
    int64_t offset = 0;
    int64_t bytes = 0;
    uint8_t* to = nullptr;
  };
  struct Piece {
    std::function<void(uint8_t* buffer)> fill;  // called by a helper; may run out of memory
    std::vector<Run> runs;                      // within buffer_bytes
  };

  // RESOURCE_EXHAUSTED where there is no pinned memory for one buffer. `runtime` outlives the ring.
  static absl::StatusOr<std::unique_ptr<UploadRing>> Make(cuda::Runtime& runtime,
                                                          const UploadRingOptions& options);
  // Waits for what is being copied. REQUIRES: no helper is in Work.
  ~UploadRing();

  int64_t buffer_bytes() const { return options_.buffer_bytes; }

  absl::Status Put(Piece piece);
  // Returns when all that was put has arrived, or nothing more can.
  absl::Status Finish();

  // What a helper does: fills buffers until the ring is closed. Any number of threads.
  void Work();
  // Lets helpers return; what nobody has begun to fill stays unfilled.
  void Close();

 private:
  struct Buffer {
    CudaMemory memory;
    cuda::Stream stream;  // of its copies alone, so that they can be waited for
    Piece piece;
  };

  UploadRing(cuda::Runtime& runtime, const UploadRingOptions& options)
      : runtime_(runtime), options_(options), most_buffers_(options.buffers) {}
  absl::Status AddBuffer();
  absl::Status TryToAddBuffer();
  absl::StatusOr<Buffer*> FreeBuffer();
  absl::Status FreeOne();
  absl::Status CopyFilled();

  cuda::Runtime& runtime_;
  const UploadRingOptions options_;

  // Of the thread that puts.
  int most_buffers_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Buffer*> free_;
  std::deque<Buffer*> copying_;  // the oldest first
  int with_helpers_ = 0;         // that are neither free nor being copied

  absl::Mutex mutex_;
  std::deque<Buffer*> to_fill_ ABSL_GUARDED_BY(mutex_);
  std::deque<Buffer*> filled_ ABSL_GUARDED_BY(mutex_);
  absl::Status fill_status_ ABSL_GUARDED_BY(mutex_);  // the first error
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_UPLOAD_RING_H_
