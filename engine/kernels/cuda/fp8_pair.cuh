// Two e4m3 numbers as two of f16, which hold them exactly.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_FP8_PAIR_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_FP8_PAIR_CUH_

#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// The low 16 bits of `codes`; the first number comes to the low half.
ROPEWAY_DEVICE uint32_t HalvesOfFp8Pair(uint32_t codes) {
#if !defined(__CUDACC__)
  const float2 pair = UnpackFp8Pair(static_cast<uint16_t>(codes));
  return PackPair<fp16>(pair.x, pair.y);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  // One instruction.
  const __half2_raw pair = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  return uint32_t{pair.x} | uint32_t{pair.y} << 16;
#else
  // In code for older devices, which newer ones may be given: exponent and mantissa into place, the exponent's bias by a
  // power of two, NaN for NaN.
  const uint32_t bytes = __byte_perm(codes, 0, 0x1404), magnitudes = (bytes & 0x7F007F00) >> 1;
  const uint32_t not_numbers = __vcmpeq2(magnitudes, 0x3F803F80), rebased = magnitudes | (bytes & 0x80008000);
  const __half2 pair = __hmul2(*reinterpret_cast<const __half2*>(&rebased), __float2half2_rn(256.0f));
  return *reinterpret_cast<const uint32_t*>(&pair) | not_numbers;
#endif
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_FP8_PAIR_CUH_
