// Numbers of every Element as floats, for work of the host on device memory.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_ELEMENTS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_ELEMENTS_H_

#include <cstdint>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/half.h"

namespace ropeway::cuda::emulation {

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
