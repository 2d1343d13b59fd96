// 16-bit floating point to float32, exactly, and back, rounded to the nearest, ties to even.
#ifndef ROPEWAY_ENGINE_TENSOR_HALF_H_
#define ROPEWAY_ENGINE_TENSOR_HALF_H_

#include <bit>
#include <cstdint>

namespace ropeway {

constexpr float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7FFFu;
  if (rest >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  // Shift exponent and mantissa into place, then correct the exponent's bias by an exact power of two.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

constexpr float BFloat16ToFloat(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

constexpr uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  if (magnitude > 0x7F800000u) return sign | 0x7E00;   // NaN
  if (magnitude >= 0x477FF000u) return sign | 0x7C00;  // from halfway between the largest number and the next
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 rounds to units of 2^-24, left in the low bits
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(0.5f));
  }
  const uint32_t rebased = magnitude - (uint32_t{127 - 15} << 23);
  return sign | static_cast<uint16_t>((rebased + 0xFFFu + (rebased >> 13 & 1)) >> 13);
}

constexpr uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_HALF_H_
