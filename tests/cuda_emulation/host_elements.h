// Numbers of every Element as floats, for work of the host on device memory.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_ELEMENTS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_ELEMENTS_H_

#include <bit>
#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/half.h"

namespace ropeway::cuda::emulation {

// Round to nearest, ties to even.
inline uint16_t FloatToBFloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline uint16_t FloatToHalf(float x) { return std::bit_cast<uint16_t>(static_cast<_Float16>(x)); }

inline float LoadElement(Element element, const void* values, int64_t i) {
  if (element == Element::kF32) return static_cast<const float*>(values)[i];
  const uint16_t bits = static_cast<const uint16_t*>(values)[i];
  return element == Element::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

inline void StoreElement(Element element, void* values, int64_t i, float x) {
  if (element == Element::kF32)
    static_cast<float*>(values)[i] = x;
  else
    static_cast<uint16_t*>(values)[i] = element == Element::kF16 ? FloatToHalf(x) : FloatToBFloat16(x);
}

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_ELEMENTS_H_
