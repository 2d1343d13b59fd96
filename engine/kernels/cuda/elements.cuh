// Loads and stores of several numbers at once as float32, and the choice of a kernel by element type.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENTS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENTS_CUH_

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/element.h"

namespace ropeway::cuda {

// kWidth numbers from `address`, in loads of 128 bits. kWidth is 1 (any alignment) or a multiple of 16 bytes.
template <int kWidth, class T>
ROPEWAY_DEVICE void LoadFloats(const T* address, float (&values)[kWidth]) {
  if constexpr (kWidth == 1) {
    values[0] = ToFloat(*address);
  } else {
    constexpr int kCount = Vector128<T>::kCount;
    static_assert(kWidth % kCount == 0);
#pragma unroll
    for (int i = 0; i < kWidth / kCount; ++i) {
      const Vector128<T> vector = Load128(address + i * kCount);
#pragma unroll
      for (int j = 0; j < kCount; ++j) values[i * kCount + j] = ToFloat(vector.values[j]);
    }
  }
}

template <int kWidth, class T>
ROPEWAY_DEVICE void StoreFloats(T* address, const float (&values)[kWidth]) {
  if constexpr (kWidth == 1) {
    *address = FromFloat<T>(values[0]);
  } else {
    constexpr int kCount = Vector128<T>::kCount;
    static_assert(kWidth % kCount == 0);
#pragma unroll
    for (int i = 0; i < kWidth / kCount; ++i) {
      Vector128<T> vector;
#pragma unroll
      for (int j = 0; j < kCount; ++j) vector.values[j] = FromFloat<T>(values[i * kCount + j]);
      Store128(address + i * kCount, vector);
    }
  }
}

// The width of kernels that take rows of any length: 8 where every row is a whole number of 8s.
constexpr bool TakesVectors(int64_t columns) { return columns % 8 == 0; }

// cudaErrorInvalidValue: the arguments name something that no kernel does.
inline constexpr ErrorCode kInvalidValue = 1;

// Returns launch.operator()<T>() for the type of `element`.
template <class LaunchKernel>
ErrorCode WithElement(Element element, const LaunchKernel& launch) {
  switch (element) {
    case Element::kF32:
      return launch.template operator()<float>();
    case Element::kF16:
      return launch.template operator()<fp16>();
    case Element::kBF16:
      return launch.template operator()<bf16>();
  }
  return kInvalidValue;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENTS_CUH_
