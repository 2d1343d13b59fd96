// What an emulated kernel for bulk copies calls (cp.async.bulk, cp.async.bulk.tensor, mbarrier). Stricter than a device:
//
// The place that a box or a run goes to is no number from the copy's start on, and the copy is made when its barrier's phase
// can end and somebody waits for it, which is the latest that a device may. What is copied before GridDependencyWait
// has what was there before the kernel in front ran. It is an error
//   to use a barrier that was not initialised, or twice; to copy by one whose FenceBarriers is missing
//   to arrive at a phase that has all its arrivals, or to bring more bytes than it was told to expect
//   to copy to what is not shared memory, or holds what cp.async brought without its fence; a box not to where the swizzle
//   begins anew; a run of addresses or of a number of bytes that are no multiples of 16
//   to copy a box by what is no tensor map; to copy behind GridDependencyWait without FenceGlobalForBulkCopies
//   to end a block with copies under way
// A phase that misses arrivals or bytes never ends: who waits for it is named when nobody can go on. To ThreadSanitizer a
// copy is a write by the thread that starts it, which those see who have waited; so a slot that is filled while others
// read it, or read before it is waited for, is a race.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_BULK_CONTEXT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_BULK_CONTEXT_H_

#include <cstdint>

#include "tests/cuda_emulation/block_context.h"
#include "tests/cuda_emulation/tensor_maps.h"

namespace ropeway::cuda::emulation {

void InitBarrier(void* barrier, int arrivals, SourceLine at);
void FenceBarriers();
void FenceGlobalForBulkCopies();
void ExpectBytes(void* barrier, int bytes, SourceLine at);
void ArriveAtBarrier(void* barrier, int bytes, SourceLine at);
void WaitForPhase(void* barrier, unsigned parity, SourceLine at);
void CopyRun(void* to, const void* from, int bytes, void* barrier, SourceLine at);
void CopyBox(void* to, const TensorMap& map, int column, int row, int plane, void* barrier, SourceLine at);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_BULK_CONTEXT_H_
