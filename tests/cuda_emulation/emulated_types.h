// Number and vector types of CUDA for the host compiler, so that the emulation needs no toolkit.
//
// Only what kernels use. Conversions round to the nearest, ties to even, as the device's do;
// emulated_types_test.cc holds them against NVIDIA's own headers where those are installed.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_TYPES_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_TYPES_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "engine/tensor/half.h"

namespace ropeway::cuda {

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

constexpr int2 make_int2(int x, int y) { return {x, y}; }
constexpr int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
constexpr float2 make_float2(float x, float y) { return {x, y}; }
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

// The code of |value| in a format of `mantissa_bits` whose smallest normal number is 2^min_exponent, rounded
// to the nearest, ties to even. Codes run on over the format's largest number: the caller caps them.
inline uint32_t EncodeMagnitude(float value, int mantissa_bits, int min_exponent) {
  const float magnitude = std::fabs(value);
  if (magnitude == 0) return 0;
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude in [2^(exponent - 1), 2^exponent)
  exponent = exponent - 1 < min_exponent ? min_exponent : exponent - 1;
  // In units of the last place. A subnormal number has the exponent of the smallest normal one.
  const float units = std::nearbyint(std::ldexp(magnitude, mantissa_bits - exponent));
  return static_cast<uint32_t>(units) + (static_cast<uint32_t>(exponent - min_exponent) << mantissa_bits);
}

inline uint16_t EncodeHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7FFF;
  if (std::fabs(value) >= 65520) return sign | 0x7C00;  // halfway to the next one: infinity
  return static_cast<uint16_t>(sign | EncodeMagnitude(value, 10, -14));
}

inline uint16_t EncodeBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Saturates at 448; there is no infinity.
inline uint8_t EncodeFp8E4M3(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return 0x7F;
  if (std::fabs(value) >= 448) return sign | 0x7E;
  return static_cast<uint8_t>(sign | EncodeMagnitude(value, 3, -6));
}

inline float DecodeFp8E4M3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return std::nanf("");
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

}  // namespace emulation

struct fp16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};
struct fp8 {  // e4m3
  uint8_t bits;
};

inline float ToFloat(float value) { return value; }
inline float ToFloat(fp16 value) { return HalfToFloat(value.bits); }
inline float ToFloat(bf16 value) { return BFloat16ToFloat(value.bits); }
inline float ToFloat(fp8 value) { return emulation::DecodeFp8E4M3(value.bits); }

template <class T>
T FromFloat(float value);
template <>
inline float FromFloat<float>(float value) {
  return value;
}
template <>
inline fp16 FromFloat<fp16>(float value) {
  return {emulation::EncodeHalf(value)};
}
template <>
inline bf16 FromFloat<bf16>(float value) {
  return {emulation::EncodeBFloat16(value)};
}
template <>
inline fp8 FromFloat<fp8>(float value) {
  return {emulation::EncodeFp8E4M3(value)};
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_TYPES_H_
