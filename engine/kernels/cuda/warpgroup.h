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
// Whoever wrote b calls FenceAsyncProxy behind it, or behind the wait for its cp.async, in front of the barrier that
// tells others; what bulk copies brought needs none (bulk_copy.h). Under nvcc and in the emulation, which decodes
// descriptors as the PTX ISA has them, reads b when it is waited for, and fails where a fence is missing.
//
// nvcc takes a wait as early as it can, and puts off behind it what could have been computed meanwhile, unless a branch
// lies between. WarpgroupWait<n, place> in both arms of one stays there: of the same place they would be made one again.
//
// RaiseRegisters<n> and LowerRegisters<n>, by all threads of a warpgroup, change how many registers each of them has: what
// some give up others may take, who wait for them. n is a multiple of 8, from 24 to 256.
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

// A descriptor of b whose first element is at `begin`, in a row of 128-byte swizzled panels that are `panel_bytes` apart.
// Of keys, b = (rows)^T: 16 columns from `begin` on, which lies within the first of eight rows; of values, b = 16
// rows and as many panels as N takes.
//
// Read in the PTX ISA and in CUTLASS's canonical layouts (counted in 16 bytes, before the swizzle), on 2026-11-27:
//   bits 0-13  start address, 16-29 leading and 32-45 stride offset, each (bytes & 0x3FFFF) >> 4; 49-51 base offset, 0 where
//              eight rows begin at a multiple of 1024; 62-63 the swizzle, 1 for 128 bytes
//   keys       K-major, transpose bit 0: ((8, n), 2) : ((8, stride), 1): eight rows of 128 bytes, then the next eight
//              `stride` = 1024 bytes on; the leading offset is not read. 16 columns further is 32 bytes of address, since
//              the swizzle exchanges bits of addresses, 4 to 6 by 7 to 9.
//   values     N-major, transpose bit 1 (types of 16 bits alone have it): ((8, n), (8, k)) : ((1, leading), (8, stride)): 64
//              columns, then the next panel `leading` bytes on; eight rows, then the next eight `stride` = 1024 on.
// The emulation computes addresses by these formulas, and an H100 reads them so (2026-11-27).
ROPEWAY_DEVICE uint64_t PanelDescriptor(const void* begin, int panel_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = kPanelAlignment >> 4;
  return static_cast<uint64_t>(SharedAddress(begin) >> 4) | static_cast<uint64_t>(panel_bytes >> 4) << 16 |
         kEightRows << 32 | kSwizzle128;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_WARPGROUP_H_
