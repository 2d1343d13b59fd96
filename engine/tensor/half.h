// 16-bit floating point to float32, exactly.
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

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_HALF_H_
