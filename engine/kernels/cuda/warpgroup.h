// Tensor cores as four warps use them together, a warpgroup (wgmma): for kernels that are compiled for sm_90a.
//
// A product a b is put on its way and arrives later: sums d are given to it and may be touched again only behind a
// WarpgroupWait that has it done. So it goes:
//   HoldRegisters(d); WarpgroupFence();         what was done to d and a before is done
//   MultiplyWide(d, a, b, ...); ...             one after the other; several into one d are a chain, in order
//   WarpgroupCommit();                          they are a group
//   WarpgroupWait<n>(); HoldRegisters(d);       all but the last n groups are done; a, too, stays until then
// a [64, 16] lies in registers: each warp's 16 rows as mma.sync has them. b lies in shared memory, in panels of 64
// columns (SwizzledColumn) that a descriptor names. d [64, N] is as mma.sync's d, N / 8 tiles side by side.
//
// Whoever wrote b calls FenceForWarpgroups behind it, or behind the wait for its cp.async, in front of the barrier that
// tells others. Under nvcc and in the emulation, which decodes descriptors as the PTX ISA has them, reads b when
// it is waited for, and fails where a fence is missing.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_WARPGROUP_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_WARPGROUP_H_

#include <cstdint>

#include "engine/kernels/cuda/device.h"

#if defined(__CUDACC__)
#include "engine/kernels/cuda/cuda_warpgroup.h"
#else
#include <emulated_warpgroup.h>
#endif

namespace ropeway::cuda {

inline constexpr int kPanelColumns = 64;      // of 16 bits: 128 bytes, a row of a panel
inline constexpr int kPanelAlignment = 1024;  // eight rows, within which columns are exchanged
inline constexpr int kPanelRowBytes = 2 * kPanelColumns;

// Where 8 columns from `column` on, a multiple of 8, lie in row `row` of a panel: the 128-byte swizzle.
ROPEWAY_DEVICE int SwizzledColumn(int row, int column) { return column ^ row % 8 * 8; }

// A descriptor of b whose first element is at `begin`: `row` of 128-byte swizzled panels that are `panel_bytes` apart.
// Of keys, b = (rows)^T: 16 columns from `begin` on, which lies within the first of eight rows; of values, b = 16
// rows and as many panels as N takes.
ROPEWAY_DEVICE uint64_t PanelDescriptor(const void* begin, int panel_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = kPanelAlignment >> 4;
  return static_cast<uint64_t>(SharedAddress(begin) >> 4) | static_cast<uint64_t>(panel_bytes >> 4) << 16 |
         kEightRows << 32 | kSwizzle128;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_WARPGROUP_H_
