// Types of numbers on a device.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENT_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENT_H_

#include <cstdint>

namespace ropeway::cuda {

// Of activations and dense weights. float32 is for comparison with the CPU: it has no tensor cores.
enum class Element : uint8_t { kF32, kF16, kBF16 };

// Of keys and values in the cache. The 8-bit ones have a float32 scale per token and head beside them.
enum class KvElement : uint8_t { kF32, kF16, kBF16, kFp8E4M3, kInt8 };

constexpr int64_t BytesOf(Element element) { return element == Element::kF32 ? 4 : 2; }
constexpr int64_t BytesOf(KvElement element) {
  return element == KvElement::kF32 ? 4 : element == KvElement::kF16 || element == KvElement::kBF16 ? 2 : 1;
}
constexpr bool HasScales(KvElement element) {
  return element == KvElement::kFp8E4M3 || element == KvElement::kInt8;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ELEMENT_H_
