// engine/kernels/cuda/warpgroup.h for the host compiler: what its functions do, in terms of warpgroup_context.h.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_WARPGROUP_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_WARPGROUP_H_

#include <cstdint>
#include <type_traits>

#include "tests/cuda_emulation/warpgroup_context.h"

namespace ropeway::cuda {

inline uint32_t SharedAddress(const void* shared, emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::SharedAddressOf(shared, at);
}

inline void FenceAsyncProxy() { emulation::FenceAsyncProxy(); }
inline void WarpgroupFence() { emulation::WarpgroupFence(); }
inline void WarpgroupCommit() { emulation::WarpgroupCommit(); }
template <int kGroupsInFlight, int kPlace = 0>
void WarpgroupWait(emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::WarpgroupWait(kGroupsInFlight, at);
}
template <class Registers>
void HoldRegisters(Registers&) {}
template <int kCount>
void RaiseRegisters() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}
template <int kCount>
void LowerRegisters() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}

template <class T, bool kRows, int kTiles>
void MultiplyWide(float (&d)[kTiles][4], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                  emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::WarpgroupMultiply({.d = &d[0][0],
                                .a = a,
                                .b = b,
                                .columns = 8 * kTiles,
                                .rows_of_panels = kRows,
                                .halves = std::is_same_v<T, fp16>,
                                .accumulate = accumulate},
                               at);
}

inline void AddHalfProducts(float (&d)[32][4], const uint32_t (&a)[4], uint64_t b,
                            emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::WarpgroupMultiply(
      {.d = &d[0][0], .a = a, .b = b, .columns = 256, .halves = true, .accumulate = true}, at);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_WARPGROUP_H_
