// 8-bit floating point (e4m3: 4 bits of exponent, 3 of mantissa, no infinities) to float32, exactly, and back, rounded to
// the nearest, ties to even. What is larger than the largest number becomes that one.
#ifndef ROPEWAY_ENGINE_TENSOR_FP8_H_
#define ROPEWAY_ENGINE_TENSOR_FP8_H_

#include <bit>
#include <cstdint>

namespace ropeway {

inline constexpr float kLargestFp8 = 448;

constexpr float Fp8ToFloat(uint8_t code) {
  const uint32_t sign = (code & 0x80u) << 24, rest = code & 0x7Fu;
  if (rest == 0x7F) return std::bit_cast<float>(sign | 0x7FC00000u);
  // Shift exponent and mantissa into place, then correct the exponent's bias by an exact power of two.
  const float magnitude = std::bit_cast<float>(rest << 20) * 0x1p120f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

constexpr uint8_t FloatToFp8(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  const uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  if (magnitude > 0x7F800000u) return 0x7F;  // NaN
  if (magnitude >= std::bit_cast<uint32_t>(kLargestFp8)) return sign | 0x7E;
  if (magnitude < 0x3C800000u) {  // below 2^-6: adding 2^14 rounds to units of 2^-9, left in the low bits
    const float rounded = std::bit_cast<float>(magnitude) + 0x1p14f;
    return sign | static_cast<uint8_t>(std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(0x1p14f));
  }
  const uint32_t rebased = magnitude - (uint32_t{127 - 7} << 23);
  return sign | static_cast<uint8_t>((rebased + 0x7FFFFu + (rebased >> 20 & 1)) >> 20);
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_FP8_H_
