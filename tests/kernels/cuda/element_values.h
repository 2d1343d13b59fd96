// Numbers of a device's types on the host: what a test uploads, reads back and allows for rounding.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_ELEMENT_VALUES_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_ELEMENT_VALUES_H_

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/cuda/element.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::cuda {

inline constexpr Element kElements[] = {Element::kF32, Element::kF16, Element::kBF16};
inline constexpr DType kPackedTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0,
                                         DType::kQ4_K, DType::kQ6_K, DType::kMXFP4};

inline const char* NameOf(Element element) {
  return element == Element::kF32 ? "f32" : element == Element::kF16 ? "f16" : "bf16";
}

// The largest relative error of one rounding.
inline float RoundingOf(Element element) {
  return element == Element::kF32 ? 0x1p-24f : element == Element::kF16 ? 0x1p-11f : 0x1p-8f;
}

inline std::vector<uint8_t> Encode(Element element, const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * BytesOf(element));
  for (size_t i = 0; i < values.size(); ++i) {
    if (element == Element::kF32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
      continue;
    }
    const uint16_t code = element == Element::kF16 ? FloatToHalf(values[i]) : FloatToBFloat16(values[i]);
    std::memcpy(&bytes[i * 2], &code, 2);
  }
  return bytes;
}

inline std::vector<float> Decode(Element element, const std::vector<uint8_t>& bytes) {
  std::vector<float> values(bytes.size() / BytesOf(element));
  for (size_t i = 0; i < values.size(); ++i) {
    if (element == Element::kF32) {
      std::memcpy(&values[i], &bytes[i * 4], 4);
      continue;
    }
    uint16_t code;
    std::memcpy(&code, &bytes[i * 2], 2);
    values[i] = element == Element::kF16 ? HalfToFloat(code) : BFloat16ToFloat(code);
  }
  return values;
}

// Normally distributed, and numbers of the element type.
inline std::vector<float> RandomValues(Element element, size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return Decode(element, Encode(element, values));
}

// A matrix of a packed type as a file has it: random codes, scales of fp16 around 2^-5 times `scale`.
inline std::vector<uint8_t> RandomPacked(DType type, int64_t rows, int64_t columns, uint32_t seed,
                                         float scale = 1) {
  std::mt19937 random(seed);
  const DTypeInfo& info = InfoOf(type);
  std::vector<uint8_t> bytes(rows * RowBytes(type, columns));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  const bool two_scales = type == DType::kQ4_1 || type == DType::kQ4_K;
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    if (type == DType::kMXFP4) {
      bytes[block] = static_cast<uint8_t>(121 + random() % 4);
      continue;
    }
    uint8_t* scales = &bytes[block] + (type == DType::kQ6_K ? offsetof(BlockQ6_K, d) : 0);
    for (int i = 0; i <= static_cast<int>(two_scales); ++i) {
      const float number = (static_cast<float>(random() % 2001) - 1000.0f) / 32000.0f;
      const uint16_t code = FloatToHalf(number * scale);
      std::memcpy(scales + 2 * i, &code, sizeof code);
    }
  }
  return bytes;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_ELEMENT_VALUES_H_
