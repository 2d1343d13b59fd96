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

inline PackedPlanes PlanesOf(const DeviceMatrix& matrix) {
  const PackedLayout layout = LayoutOf(matrix.type, matrix.rows, matrix.columns);
  const auto* data = static_cast<const uint8_t*>(matrix.data);
  return {data + layout.codes, data + layout.high, data + layout.scales, data + layout.blocks};
}

ROPEWAY_DEVICE float HalfAt(const uint8_t* plane, int64_t index) {
  return HalfToFloat(reinterpret_cast<const uint16_t*>(plane)[index]);
}

// 16 bytes of nibbles: columns 0..15 in the low ones, 16..31 in the high ones.
ROPEWAY_DEVICE void LoadNibbles(const uint8_t* codes, int64_t unit, int (&values)[kUnitColumns]) {
  const Vector128<uint32_t> words = Load128(reinterpret_cast<const uint32_t*>(codes + unit * 16));
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int byte = static_cast<int>(words.values[i / 4] >> (i % 4 * 8));
    values[i] = byte & 15;
    values[i + 16] = byte >> 4 & 15;
  }
}

// Every operation is rounded by itself: a fused multiply-add would give other weights than the CPU has.
template <DType kType>
ROPEWAY_DEVICE void UnpackUnit(const PackedPlanes& planes, int64_t unit, float (&weights)[kUnitColumns]) {
  if constexpr (kType == DType::kQ8_0) {
    const float scale = HalfAt(planes.scales, unit);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Vector128<int8_t> codes =
          Load128(reinterpret_cast<const int8_t*>(planes.codes + unit * kUnitColumns + half * 16));
#pragma unroll
      for (int i = 0; i < 16; ++i)
        weights[half * 16 + i] = __fmul_rn(scale, static_cast<float>(codes.values[i]));
    }
    return;
  } else {
    int codes[kUnitColumns];
    LoadNibbles(planes.codes, unit, codes);
    if constexpr (kType == DType::kQ4_0) {
      const float scale = HalfAt(planes.scales, unit);
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i) weights[i] = __fmul_rn(scale, static_cast<float>(codes[i] - 8));
    } else if constexpr (kType == DType::kQ4_1) {
      const float scale = HalfAt(planes.scales, 2 * unit), offset = HalfAt(planes.scales, 2 * unit + 1);
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fadd_rn(__fmul_rn(scale, static_cast<float>(codes[i])), offset);
    } else if constexpr (kType == DType::kQ4_K) {
      const int64_t block = unit / kBlockUnits;
      const float scale = __fmul_rn(HalfAt(planes.blocks, 2 * block), planes.scales[2 * unit]);
      const float least = __fmul_rn(HalfAt(planes.blocks, 2 * block + 1), planes.scales[2 * unit + 1]);
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i)
        weights[i] = __fadd_rn(__fmul_rn(scale, static_cast<float>(codes[i])), -least);
    } else {
      static_assert(kType == DType::kQ6_K);
      const float block_scale = HalfAt(planes.blocks, unit / kBlockUnits);
      const auto* scales = reinterpret_cast<const int8_t*>(planes.scales + 2 * unit);
      const float scale[2] = {__fmul_rn(block_scale, scales[0]), __fmul_rn(block_scale, scales[1])};
      const uint2 high = reinterpret_cast<const uint2*>(planes.high)[unit];
#pragma unroll
      for (int i = 0; i < kUnitColumns; ++i) {
        const unsigned word = i % 8 < 4 ? high.x : high.y;
        const int two_bits = static_cast<int>(word >> (i % 4 * 8 + i / 8 * 2)) & 3;
        weights[i] = __fmul_rn(scale[i / 16], static_cast<float>((codes[i] | two_bits << 4) - 32));
      }
    }
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
