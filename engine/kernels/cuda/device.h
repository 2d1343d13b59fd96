// All that a kernel (.cu) includes for the device: the same names under nvcc and in the emulation.
//
// nvcc compiles it to CUDA; the host compiler to an emulation of the execution model
// (tests/cuda_emulation), whose include path gives <emulated_device.h>. CUDA's own names that both have:
// threadIdx, blockIdx, blockDim, gridDim; __syncthreads[_or|_and|_count], __syncwarp;
// __shfl[_xor|_up|_down]_sync,
// __ballot_sync, __any_sync, __all_sync; atomicAdd, atomicExch, atomicCAS, atomicMax, atomicMin; __ldg,
// __dp4a, __byte_perm,
// __popc, __clz, __ffs, __fmaf_rn and kin, __float_as_uint and kin; float2, float4, int2, int4, uint2, uint4,
// dim3, __ldcg, __threadfence.
//
// A kernel that LaunchDependent launches may begin while the one in front of it on the stream still runs, where
// the device can do that: what that one writes, or reads and this one writes, may be touched only after
// GridDependencyWait. Every thread waits before it ends, so that whoever waits for this kernel has waited for
// all before it. LaunchDependents says from when on the next kernel may begin, if it is launched so.
//
// Rules that the emulation enforces: shared memory by ROPEWAY_SHARED or ROPEWAY_DYNAMIC_SHARED; every thread
// of a block reaches every __syncthreads (no early return before one); a mask names only lanes that take
// part; a thread waits for its cp.async, and for the kernel in front where it may begin early, before it ends;
// static and dynamic shared memory together stay within what a launch gets (shared_bytes.h).
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "engine/kernels/cuda/runtime.h"

#if defined(__CUDACC__)
#include "engine/kernels/cuda/cuda_device.h"
#else
#include <emulated_device.h>
#endif

namespace ropeway::cuda {

inline constexpr unsigned kFullWarp = 0xFFFFFFFF;

// 128 bits, as a thread loads and stores them.
template <class T>
struct alignas(16) Vector128 {
  static constexpr int kCount = 16 / sizeof(T);
  T values[kCount];
};

template <class T>
ROPEWAY_DEVICE Vector128<T> Load128(const T* address) {
  return *reinterpret_cast<const Vector128<T>*>(address);
}
template <class T>
ROPEWAY_DEVICE void Store128(T* address, const Vector128<T>& vector) {
  *reinterpret_cast<Vector128<T>*>(address) = vector;
}

// Likewise what other blocks of the same kernel wrote before a __threadfence of theirs: from the cache that all
// processors share.
ROPEWAY_DEVICE Vector128<float> Load128FromOthers(const float* address) {
  const float4 four = __ldcg(reinterpret_cast<const float4*>(address));
  return {{four.x, four.y, four.z, four.w}};
}

ROPEWAY_DEVICE float WarpSum(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(kFullWarp, value, lanes);
  return value;
}

ROPEWAY_DEVICE float WarpMax(float value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, lanes));
  return value;
}

// The sum over a block of kWarps warps, in every thread; the order of the additions depends on kWarps alone.
// May be called again at once.
template <int kWarps>
ROPEWAY_DEVICE float BlockSum(float value) {
  ROPEWAY_SHARED(parts, float[kWarps]);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = WarpSum(value);
  __syncthreads();  // the readers of an earlier call are done
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  return WarpSum(lane < kWarps ? parts[lane] : 0.0f);
}

template <int kWarps>
ROPEWAY_DEVICE float BlockMax(float value) {
  ROPEWAY_SHARED(parts, float[kWarps]);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = WarpMax(value);
  __syncthreads();  // the readers of an earlier call are done
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  return WarpMax(lane < kWarps ? parts[lane] : -INFINITY);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_DEVICE_H_
