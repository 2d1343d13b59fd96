// Sums over the devices of a tensor-parallel group, and what one of them tells the others.
//
// Plain C++. Implementations: NCCL (collective_nccl.cc), and a host one for tests. One object per rank, used
// by that rank's thread.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_COLLECTIVE_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_COLLECTIVE_H_

#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

class Collective {
 public:
  virtual ~Collective() = default;

  // values[i] = sum over ranks of values[i], in the order of the stream. All ranks call it with the same
  // count and type.
  virtual ErrorCode AllReduce(void* values, int64_t count, Element element, Stream stream) = 0;

  // values[i] = values[i] of rank 0, likewise.
  virtual ErrorCode Broadcast(int32_t* values, int64_t count, Stream stream) = 0;

  // After a failure of one rank: whatever other ranks of the group wait for ends, with an error where there
  // can be one. The group is of no use any more. Any rank's thread may call it, for all; it waits for nothing.
  virtual void Abort() = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_COLLECTIVE_H_
