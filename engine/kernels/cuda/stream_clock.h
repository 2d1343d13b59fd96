// Time by the device's own clock: marks in a stream, and what lies between two of them.
//
// Apart from Runtime, whose events the engine waits for and which carry no times. Plain C++; in libropeway_cuda.so by CUDA's
// events. Used by the thread that uses the stream, bound to its device. Every call returns a code, as a Runtime's.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_CLOCK_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_CLOCK_H_

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

class StreamClock {
 public:
  virtual ~StreamClock() = default;

  // Sets a mark, or sets it anew, behind what the stream has. Marks count from 0.
  virtual ErrorCode Mark(int mark, Stream stream) = 0;

  // From one mark to the other; an error unless both were set and the stream is past them.
  virtual ErrorCode Elapsed(int from, int to, float* milliseconds) = 0;
};

// Of the device that the calling thread is bound to; defined in libropeway_cuda.so.
StreamClock* MakeStreamClock();

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_STREAM_CLOCK_H_
