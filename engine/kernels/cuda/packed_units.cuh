// Packed weights on the device: a unit of 32 columns to float32, exactly as engine/tensor/dequantize does it.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_UNITS_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_UNITS_CUH_

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/elements.cuh"
#include "engine/tensor/half.h"

namespace ropeway::cuda {

// The planes that PackedLayout describes.
struct PackedPlanes {
  const uint8_t* codes;
  const uint8_t* high;
  const uint8_t* scales;
  const uint8_t* blocks;
};

constexpr PackedPlanes PlanesAt(const PackedLayout& layout, const uint8_t* data) {
  return {data + layout.codes, data + layout.high, data + layout.scales, data + layout.blocks};
}
inline PackedPlanes PlanesOf(const DeviceMatrix& matrix) {
  return PlanesAt(LayoutOf(matrix.type, matrix.rows, matrix.columns),
                  static_cast<const uint8_t*>(matrix.data));
}

// A unit as memory has it.
template <DType kType>
struct RawUnit {
  static constexpr int kWords = kType == DType::kQ8_0 ? 8 : 4;
  uint32_t codes[kWords];
  uint2 high;       // of Q6_K
  uint32_t scales;  // what the scales plane has, in the low bits first
  uint32_t block;   // likewise the blocks plane
};

template <DType kType>
ROPEWAY_DEVICE RawUnit<kType> LoadUnit(const PackedPlanes& planes, int64_t unit) {
  RawUnit<kType> raw = {};
#pragma unroll
  for (int i = 0; i < RawUnit<kType>::kWords; i += 4) {
    const auto words =
        Load128(reinterpret_cast<const uint32_t*>(planes.codes + unit * RawUnit<kType>::kWords * 4 + i * 4));
#pragma unroll
    for (int j = 0; j < 4; ++j) raw.codes[i + j] = words.values[j];
  }
  if constexpr (kType == DType::kQ4_1)
    raw.scales = reinterpret_cast<const uint32_t*>(planes.scales)[unit];
  else
    raw.scales = reinterpret_cast<const uint16_t*>(planes.scales)[unit];
  if constexpr (kType == DType::kQ4_K)
    raw.block = reinterpret_cast<const uint32_t*>(planes.blocks)[unit / kBlockUnits];
  if constexpr (kType == DType::kQ6_K) {
    raw.high = reinterpret_cast<const uint2*>(planes.high)[unit];
    raw.block = reinterpret_cast<const uint16_t*>(planes.blocks)[unit / kBlockUnits];
  }
  return raw;
}

ROPEWAY_DEVICE float LowHalf(uint32_t bits) { return UnpackPair<fp16>(bits).x; }
ROPEWAY_DEVICE float HighHalf(uint32_t bits) { return UnpackPair<fp16>(bits).y; }

// Byte i of `codes` less `zero`, exactly. Its bits below those of 2^23 are a float, so that it takes a permutation and a
// sum where a conversion takes three instructions.
ROPEWAY_DEVICE float CodeAt(uint32_t codes, int i, int zero = 0) {
  return __uint_as_float(__byte_perm(codes, 0x4B000000, 0x7440 + i)) - static_cast<float>((1 << 23) + zero);
}

// Nibbles: columns 0..15 in the low ones, 16..31 in the high ones. words[i] has columns 4 i to 4 i + 3, a byte each.
ROPEWAY_DEVICE void UnpackNibbles(const uint32_t (&nibbles)[4], uint32_t (&words)[kUnitColumns / 4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = nibbles[i] & 0x0F0F0F0F;
    words[i + 4] = nibbles[i] >> 4 & 0x0F0F0F0F;
  }
}

// A float of 4 bits, doubled: the sign, then one of eight magnitudes.
ROPEWAY_DEVICE float DoubledE2m1(int code) {
  const int magnitude = static_cast<int>(0xC8643210u >> (code % 8 * 4) & 15);
  return static_cast<float>(code < 8 ? magnitude : -magnitude);
}

// Every operation is rounded by itself: a fused multiply-add would give other weights than the CPU has.
template <DType kType>
ROPEWAY_DEVICE void UnpackRaw(const RawUnit<kType>& raw, float (&weights)[kUnitColumns]) {
  if constexpr (kType == DType::kQ8_0) {
    const float scale = LowHalf(raw.scales);
#pragma unroll
    for (int i = 0; i < kUnitColumns; ++i)
      weights[i] = __fmul_rn(scale, CodeAt(raw.codes[i / 4] ^ 0x80808080, i % 4, 128));
    return;
  } else {
    uint32_t codes[kUnitColumns / 4];
    UnpackNibbles(raw.codes, codes);
    if constexpr (kType == DType::kQ4_0) {
      const float scale = LowHalf(raw.scales);
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i) weights[i] = __fmul_rn(scale, CodeAt(codes[i / 4], i % 4, 8));
    } else if constexpr (kType == DType::kMXFP4) {
      const float scale = BFloat16ToFloat(static_cast<uint16_t>(raw.scales));
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fmul_rn(scale, DoubledE2m1(static_cast<int>(codes[i / 4] >> (i % 4 * 8) & 15)));
    } else if constexpr (kType == DType::kQ4_1) {
      const float scale = LowHalf(raw.scales), offset = HighHalf(raw.scales);
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fadd_rn(__fmul_rn(scale, CodeAt(codes[i / 4], i % 4)), offset);
    } else if constexpr (kType == DType::kQ4_K) {
      const float scale = __fmul_rn(LowHalf(raw.block), static_cast<float>(raw.scales & 255));
      const float least = __fmul_rn(HighHalf(raw.block), static_cast<float>(raw.scales >> 8));
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fadd_rn(__fmul_rn(scale, CodeAt(codes[i / 4], i % 4)), -least);
    } else {
      static_assert(kType == DType::kQ6_K);
      const float block_scale = LowHalf(raw.block);
      const float scale[2] = {
          __fmul_rn(block_scale, static_cast<float>(static_cast<int8_t>(raw.scales))),
          __fmul_rn(block_scale, static_cast<float>(static_cast<int8_t>(raw.scales >> 8)))};
      // Bits 4 and 5 of columns 8 j + i lie in bits 2 j of byte i.
#pragma unroll
      for (int word = 0; word < kUnitColumns / 4; ++word) {
        const uint32_t high = word % 2 == 0 ? raw.high.x : raw.high.y;
        const int j = word / 2;
        codes[word] |= (j < 2 ? high << (4 - 2 * j) : high >> (2 * j - 4)) & 0x30303030;
      }
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fmul_rn(scale[i / 16], CodeAt(codes[i / 4], i % 4, 32));
    }
  }
}

template <DType kType>
ROPEWAY_DEVICE void UnpackUnit(const PackedPlanes& planes, int64_t unit, float (&weights)[kUnitColumns]) {
  UnpackRaw(LoadUnit<kType>(planes, unit), weights);
}

// 32 weights as numbers of 16 bits, at chunks first_chunk to first_chunk + 3 of a row.
template <class T, DType kType, class Rows>
ROPEWAY_DEVICE void StoreUnpacked(const RawUnit<kType>& raw, const Rows& rows, int row, int first_chunk) {
  float weights[kUnitColumns];
  UnpackRaw(raw, weights);
#pragma unroll
  for (int chunk = 0; chunk < kUnitColumns / 8; ++chunk) {
    Vector128<uint32_t> pairs;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      pairs.values[i] = PackPair<T>(weights[chunk * 8 + 2 * i], weights[chunk * 8 + 2 * i + 1]);
    Store128(reinterpret_cast<uint32_t*>(rows.At(row, first_chunk + chunk)), pairs);
  }
}

// Returns launch.operator()<kType>() for a packed type.
template <class LaunchKernel>
ErrorCode WithPackedType(DType type, const LaunchKernel& launch) {
  switch (type) {
    case DType::kQ4_0:
      return launch.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return launch.template operator()<DType::kQ4_1>();
    case DType::kMXFP4:
      return launch.template operator()<DType::kMXFP4>();
    case DType::kQ8_0:
      return launch.template operator()<DType::kQ8_0>();
    case DType::kQ4_K:
      return launch.template operator()<DType::kQ4_K>();
    case DType::kQ6_K:
      return launch.template operator()<DType::kQ6_K>();
    default:
      return kInvalidValue;
  }
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PACKED_UNITS_CUH_
