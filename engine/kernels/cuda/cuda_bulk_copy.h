// bulk_copy.h over PTX (sm_90). Everything else includes bulk_copy.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_BULK_COPY_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_BULK_COPY_H_

#include <cstdint>

#include "engine/kernels/cuda/cuda_device.h"

namespace ropeway::cuda {

ROPEWAY_DEVICE bool IsElected() {
  uint32_t elected;
  asm volatile(
      "{.reg .pred elected;\n"
      "elect.sync _|elected, 0xFFFFFFFF;\n"
      "selp.u32 %0, 1, 0, elected;}\n"
      : "=r"(elected));
  return elected != 0;
}

ROPEWAY_DEVICE void InitBarrier(PhaseBarrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(SharedAddress(&barrier)), "r"(arrivals)
               : "memory");
}
ROPEWAY_DEVICE void FenceBarriers() {
  asm volatile(
      "fence.mbarrier_init.release.cluster;\n"
      "fence.proxy.async.shared::cta;\n" ::
          : "memory");
}
ROPEWAY_DEVICE void FenceGlobalForBulkCopies() { asm volatile("fence.proxy.async.global;\n" ::: "memory"); }

ROPEWAY_DEVICE void Arrive(PhaseBarrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(SharedAddress(&barrier)) : "memory");
}
ROPEWAY_DEVICE void ArriveExpecting(PhaseBarrier& barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(SharedAddress(&barrier)),
               "r"(bytes)
               : "memory");
}
ROPEWAY_DEVICE void ExpectBytes(PhaseBarrier& barrier, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;\n" ::"r"(SharedAddress(&barrier)),
               "r"(bytes)
               : "memory");
}

ROPEWAY_DEVICE bool IsPhaseOver(PhaseBarrier& barrier, unsigned parity) {
  uint32_t over;
  asm volatile(
      "{.reg .pred over;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
      "selp.u32 %0, 1, 0, over;}\n"
      : "=r"(over)
      : "r"(SharedAddress(&barrier)), "r"(parity)
      : "memory");
  return over != 0;
}
// A phase that does not end within half a minute never does: the kernel fails, so that a mistake here is an error that the
// host sees, and not a device that hangs.
ROPEWAY_DEVICE void WaitForPhase(PhaseBarrier& barrier, unsigned parity) {
  constexpr long long kTooManyCycles = 1LL << 36;
  if (IsPhaseOver(barrier, parity)) return;
  const long long since = clock64();
  while (!IsPhaseOver(barrier, parity))
    if (clock64() - since > kTooManyCycles) __trap();
}

// A block is a cluster of its own, in which its shared memory has the addresses that it has for the block.
ROPEWAY_DEVICE void CopyBox(void* shared, const TensorMap& map, int column, int row, int plane,
                            PhaseBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];\n" ::"r"(SharedAddress(shared)),
      "l"(&map), "r"(column), "r"(row), "r"(plane), "r"(SharedAddress(&barrier))
      : "memory");
}
ROPEWAY_DEVICE void CopyRun(void* shared, const void* global, int bytes, PhaseBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
          SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(&barrier))
      : "memory");
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_BULK_COPY_H_
