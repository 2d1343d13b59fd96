// engine/kernels/cuda/bulk_copy.h for the host compiler: what its functions do, in terms of bulk_context.h.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BULK_COPY_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BULK_COPY_H_

#include "tests/cuda_emulation/bulk_context.h"

namespace ropeway::cuda {

inline bool IsElected(emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::Ballot(~0u, true, at);
  return emulation::current_thread->lane == 0;
}

inline void InitBarrier(PhaseBarrier& barrier, int arrivals,
                        emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::InitBarrier(&barrier, arrivals, at);
}
inline void FenceBarriers() { emulation::FenceBarriers(); }
inline void FenceGlobalForBulkCopies() { emulation::FenceGlobalForBulkCopies(); }

inline void Arrive(PhaseBarrier& barrier, emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::ArriveAtBarrier(&barrier, 0, at);
}
inline void ArriveExpecting(PhaseBarrier& barrier, int bytes,
                            emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::ArriveAtBarrier(&barrier, bytes, at);
}
inline void ExpectBytes(PhaseBarrier& barrier, int bytes,
                        emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::ExpectBytes(&barrier, bytes, at);
}
inline void WaitForPhase(PhaseBarrier& barrier, unsigned parity,
                         emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::WaitForPhase(&barrier, parity, at);
}

inline void CopyBox(void* shared, const TensorMap& map, int column, int row, int plane, PhaseBarrier& barrier,
                    emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::CopyBox(shared, map, column, row, plane, &barrier, at);
}
inline void CopyRun(void* shared, const void* global, int bytes, PhaseBarrier& barrier,
                    emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::CopyRun(shared, global, bytes, &barrier, at);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_BULK_COPY_H_
