// What an emulated kernel for warpgroups calls (wgmma). Stricter than a device:
//
// A product is computed when its warp waits for it, and reads then what a, the registers, and b, the shared memory,
// have by then; until then d is no number. b is found as the PTX ISA says, by the fields of the descriptor and the
// swizzle of addresses. It is an error to start a product without a fence since the last group, or of b that begins
// within the eight rows of the swizzle, to read b outside of shared memory or where a thread's cp.async has arrived
// without its fence, and to end with products under way.
//
// Each warp computes its own 16 rows of d; that the four warps of a group stand side by side is not looked for.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_WARPGROUP_CONTEXT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_WARPGROUP_CONTEXT_H_

#include <cstdint>

#include "tests/cuda_emulation/block_context.h"

namespace ropeway::cuda::emulation {

// One lane's part of wgmma.mma_async.m64nNk16 of bf16 or f16, a in registers.
struct WarpgroupProduct {
  float* d = nullptr;           // [columns / 2]
  const uint32_t* a = nullptr;  // [4]
  uint64_t b = 0;
  int columns = 0;              // N
  bool rows_of_panels = false;  // b is "MN-major": the instruction's transpose bit
  bool halves = false;          // f16
  bool accumulate = false;
  // What d had, where no product before this one that is under way gives it.
  bool has_before = false;
  float before[128] = {};
};

uint32_t SharedAddressOf(const void* shared, SourceLine at);
void FenceAsyncProxy();
void WarpgroupFence();
void WarpgroupMultiply(WarpgroupProduct product, SourceLine at);
void WarpgroupCommit();
void WarpgroupWait(int groups_in_flight, SourceLine at);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_WARPGROUP_CONTEXT_H_
