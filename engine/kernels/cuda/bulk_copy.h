// Copies that the device's copy engine makes by itself, boxes of a tensor map (cp.async.bulk.tensor) and runs of bytes
// (cp.async.bulk), and the barriers that tell of them (mbarrier): compute capability 9.0 and later.
//
// A PhaseBarrier lies in shared memory. It goes through phases: one is over when as many threads have arrived as
// InitBarrier was told, and all bytes have that they said to expect; then the next one begins. Who waits names the phase
// by its parity: WaitForPhase(barrier, p) returns once the phase before the one under way has parity p, so that of a fresh
// barrier phase 1, "the one before the first", is over. Nobody may be two phases behind. So a slot is filled:
//   ArriveExpecting(filled, bytes);                one thread: its arrival, and what is to come
//   CopyBox(slot, map, column, row, plane, filled); ...   the same thread; all of a box counts, what lies outside too
//   WaitForPhase(filled, parity);                  whoever reads it
// Likewise CopyRun(to, from, bytes, filled): bytes that lie side by side, as many at either end, a multiple of 16 of both
// addresses and of their number. ExpectBytes tells of bytes that come before the thread arrives. IsElected() names one lane of
// a warp, whose lanes are all there, always the same: what it alone does ptxas need not make a loop over lanes of.
// What a thread did before it arrives is seen by those who have waited. A slot that was read is given back by a barrier
// of its own, on which the copying thread waits.
//
// Two proxies reach the same memory: threads' own accesses, cp.async included, and those of bulk copies and wgmma.
// Between them stand fences of the thread that made the former:
//   FenceBarriers             behind InitBarrier, in front of the __syncthreads that tells others
//   FenceAsyncProxy           behind what it wrote to shared memory (warpgroup.h), in front of a copy to the same place
//   FenceGlobalForBulkCopies  behind GridDependencyWait, in front of copies of what the kernel in front wrote
// What the kernel in front does not write may be copied before GridDependencyWait.
// The emulation fails where one is missing, and where bytes, arrivals, phases or places do not agree.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_BULK_COPY_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_BULK_COPY_H_

#include <cstdint>

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/tensor_map.h"

namespace ropeway::cuda {

struct alignas(8) PhaseBarrier {
  uint64_t state;
};

}  // namespace ropeway::cuda

#if defined(__CUDACC__)
#include "engine/kernels/cuda/cuda_bulk_copy.h"
#else
#include <emulated_bulk_copy.h>
#endif

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_BULK_COPY_H_
