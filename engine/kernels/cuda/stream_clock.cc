#include "engine/kernels/cuda/stream_clock.h"

#include <cuda_runtime_api.h>

#include <vector>

namespace ropeway::cuda {
namespace {

class EventClock final : public StreamClock {
 public:
  ~EventClock() override {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }

  ErrorCode Mark(int mark, Stream stream) override {
    while (events_.size() <= static_cast<size_t>(mark)) {
      cudaEvent_t event = nullptr;
      if (const cudaError_t error = cudaEventCreate(&event)) return error;
      events_.push_back(event);
    }
    return cudaEventRecord(events_[static_cast<size_t>(mark)], static_cast<cudaStream_t>(stream.native));
  }

  ErrorCode Elapsed(int from, int to, float* milliseconds) override {
    const auto is_set = [&](int mark) { return static_cast<size_t>(mark) < events_.size(); };
    if (!is_set(from) || !is_set(to)) return cudaErrorInvalidResourceHandle;
    return cudaEventElapsedTime(milliseconds, events_[static_cast<size_t>(from)],
                                events_[static_cast<size_t>(to)]);
  }

 private:
  std::vector<cudaEvent_t> events_;
};

}  // namespace

StreamClock* MakeStreamClock() { return new EventClock; }

}  // namespace ropeway::cuda
