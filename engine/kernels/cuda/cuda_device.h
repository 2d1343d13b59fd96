// device.h over CUDA itself. Everything else includes device.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_DEVICE_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_DEVICE_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/shared_bytes.h"

#define ROPEWAY_DEVICE __device__ __forceinline__
// The type comes last and may hold commas: ROPEWAY_SHARED(tile, float[kRows][kColumns]).
#define ROPEWAY_SHARED(name, ...) __shared__ ::std::type_identity_t<__VA_ARGS__> name
// Its size is given at the launch. One per kernel.
#define ROPEWAY_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char ropeway_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(ropeway_dynamic_shared)

namespace ropeway::cuda {

using fp16 = __half;
using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

// ---- Numbers. Conversions round to the nearest, ties to even; fp8 saturates.
ROPEWAY_DEVICE float ToFloat(float value) { return value; }
ROPEWAY_DEVICE float ToFloat(fp16 value) { return __half2float(value); }
ROPEWAY_DEVICE float ToFloat(bf16 value) { return __bfloat162float(value); }
ROPEWAY_DEVICE float ToFloat(fp8 value) { return static_cast<float>(value); }

template <class T>
ROPEWAY_DEVICE T FromFloat(float value) {
  if constexpr (std::is_same_v<T, fp16>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, bf16>) {
    return __float2bfloat16_rn(value);
  } else {
    return T(value);
  }
}

// Two numbers of 16 bits, the first in the low half.
template <class T>
ROPEWAY_DEVICE uint32_t PackPair(float low, float high) {
  if constexpr (std::is_same_v<T, fp16>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    static_assert(std::is_same_v<T, bf16>);
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}
template <class T>
ROPEWAY_DEVICE float2 UnpackPair(uint32_t pair) {
  if constexpr (std::is_same_v<T, fp16>) {
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
  } else {
    static_assert(std::is_same_v<T, bf16>);
    return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
  }
}
// a - b of two fp16 each.
ROPEWAY_DEVICE uint32_t SubtractHalves(uint32_t a, uint32_t b) {
  const __half2 pair = __hsub2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&pair);
}
// (bits & mask) | others, by one instruction also where mask and others are constants.
ROPEWAY_DEVICE uint32_t MaskedOr(uint32_t bits, uint32_t mask, uint32_t others) {
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;\n" : "=r"(result) : "r"(bits), "r"(mask), "r"(others));
  return result;
}
ROPEWAY_DEVICE uint16_t PackFp8Pair(float low, float high) {
  return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, __NV_E4M3);
}
ROPEWAY_DEVICE float2 UnpackFp8Pair(uint16_t pair) {
  return __half22float2(static_cast<__half2>(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3)));
}

// ---- Arithmetic that may be less exact than the standard's.
ROPEWAY_DEVICE float FastExp(float value) { return __expf(value); }
// What is smaller than a normal number is 0.
ROPEWAY_DEVICE float FastExp2(float value) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(power) : "f"(value));
  return power;
}
ROPEWAY_DEVICE float FastLog(float value) { return __logf(value); }
ROPEWAY_DEVICE float FastRsqrt(float value) { return rsqrtf(value); }
ROPEWAY_DEVICE float FastDivide(float a, float b) { return __fdividef(a, b); }

// ---- Tensor cores and asynchronous copies (sm_80).
ROPEWAY_DEVICE void PrefetchL2(const void* global) {
  asm volatile("prefetch.global.L2 [%0];\n" ::"l"(global));
}
// 16 bytes of what nobody writes meanwhile and is read once from beginning to end: L2 fetches 256 bytes.
ROPEWAY_DEVICE uint4 LoadStreamed(const void* global) {
  uint4 words;
  asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3},[%4];\n"
      : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
      : "l"(global));
  return words;
}
ROPEWAY_DEVICE uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}
// 16 bytes from global to shared memory; zeros where the predicate is false.
ROPEWAY_DEVICE void CpAsync16(void* shared, const void* global, bool predicate = true) {
  const int bytes = predicate ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(SharedAddress(shared)), "l"(global),
               "r"(bytes)
               : "memory");
}
// The same for what is read once from beginning to end: L2 fetches 256 bytes.
ROPEWAY_DEVICE void CpAsync16Streamed(void* shared, const void* global, bool predicate = true) {
  const int bytes = predicate ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;\n" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}
ROPEWAY_DEVICE void CpAsyncCommit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most kGroupsInFlight of this thread's groups are not done.
template <int kGroupsInFlight>
ROPEWAY_DEVICE void CpAsyncWait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroupsInFlight) : "memory");
}
// Four 8x8 matrices of 16-bit numbers; lane 8 q + r names row r of matrix q.
ROPEWAY_DEVICE void LoadMatrixX4(uint32_t (&fragments)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];\n"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(SharedAddress(row))
               : "memory");
}
ROPEWAY_DEVICE void LoadMatrixX4Trans(uint32_t (&fragments)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];\n"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(SharedAddress(row))
               : "memory");
}
// d = a b + c over a warp: a [16, 16] row-major, b [16, 8] column-major, c and d [16, 8].
template <class T>
ROPEWAY_DEVICE void MmaM16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                const float (&c)[4]) {
  if constexpr (std::is_same_v<T, fp16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
        "{%10,%11,%12,%13};\n"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  } else {
    static_assert(std::is_same_v<T, bf16>);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
        "{%10,%11,%12,%13};\n"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
          "f"(c[3]));
  }
}

// ---- Kernels that begin before the one in front has ended (sm_90).
ROPEWAY_DEVICE void GridDependencyWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}
ROPEWAY_DEVICE void LaunchDependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

// Whether the code that the device runs of a kernel waits for the one in front: that of older PTX does not.
template <class... Parameters>
bool WaitsForGrids(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes = {};
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)) == cudaSuccess &&
         attributes.ptxVersion >= 90;
}

// Lets a kernel have more shared memory than any may without asking: all that the device has for a block. Of a device
// that is always the same number, so that launches of several threads do not take from each other what they asked for.
inline cudaError_t AllowShared(const void* kernel, size_t bytes) {
  if (!MustAskForShared(bytes)) return cudaSuccess;
  cudaFuncAttributes attributes = {};
  int device = 0, most = 0;
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel)) return error;
  if (attributes.maxDynamicSharedSizeBytes >= static_cast<int>(bytes)) return cudaSuccess;
  if (const cudaError_t error = cudaGetDevice(&device)) return error;
  if (const cudaError_t error =
          cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device))
    return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              most - static_cast<int>(attributes.sharedSizeBytes));
}

template <class... Parameters, class... Arguments>
ErrorCode LaunchAs(bool dependent, Stream stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, Arguments&&... arguments) {
  const cudaError_t error = AllowShared(reinterpret_cast<const void*>(kernel), shared_bytes);
  if (error != cudaSuccess) return error;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.native);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = dependent && WaitsForGrids(kernel) ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

// Launches a kernel and returns the launch's error.
template <class... Parameters, class... Arguments>
ErrorCode Launch(Stream stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                 Arguments&&... arguments) {
  return LaunchAs(false, stream, kernel, grid, block, shared_bytes, std::forward<Arguments>(arguments)...);
}
// Likewise one whose threads all call GridDependencyWait (device.h).
template <class... Parameters, class... Arguments>
ErrorCode LaunchDependent(Stream stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          size_t shared_bytes, Arguments&&... arguments) {
  return LaunchAs(true, stream, kernel, grid, block, shared_bytes, std::forward<Arguments>(arguments)...);
}

// How many blocks of a kernel find room on a processor at once; 1 where nobody knows.
template <class... Parameters>
int BlocksPerProcessor(void (*kernel)(Parameters...), int threads, size_t shared_bytes) {
  int blocks = 0;
  const auto* const function = reinterpret_cast<const void*>(kernel);
  const bool known =
      AllowShared(function, shared_bytes) == cudaSuccess &&
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, threads, shared_bytes) == cudaSuccess;
  return known && blocks > 0 ? blocks : 1;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_DEVICE_H_
