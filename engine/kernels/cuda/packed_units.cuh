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

ROPEWAY_DEVICE float LowHalf(uint32_t bits) { return UnpackPair<fp16>(bits).x; }
ROPEWAY_DEVICE float HighHalf(uint32_t bits) { return UnpackPair<fp16>(bits).y; }

// Codes become float32 two at a time, by way of fp16, whose numbers below 2^-14 are multiples of 2^-24: bits of a code in
// their lowest places are the code times 2^-24, and four places higher times 2^-20. kCodeScale takes that back. Not kInPairs:
// where a warp is alone on its part of a processor, and what counts is how long one code takes, those of Q4_K and Q4_1 do
// so one by one.
inline constexpr float kCodeScale = 0x1p24f;

// What the codes of a unit are multiplied by, and what is added.
template <DType kType>
struct UnitScale {
  static constexpr int kScales = kType == DType::kQ6_K ? 2 : 1;  // each of 32 / kScales columns
  float scale[kScales];  // kCodeScale times the scale where codes are multiples of 2^-24
  float offset = 0;
};

// Bytes first and first + 1, less 128 where they are signed, exactly.
ROPEWAY_DEVICE float2 BytesAt(uint32_t bytes, int first) {
  return UnpackPair<fp16>(__byte_perm(bytes, 0, first == 0 ? 0x4140 : 0x4342));
}
ROPEWAY_DEVICE float2 CentredBytesAt(uint32_t bytes, int first) {
  const uint32_t above_1024 = __byte_perm(bytes, 0x64646464, first == 0 ? 0x4140 : 0x4342);
  return UnpackPair<fp16>(SubtractHalves(above_1024, 0x64806480));
}

// Of the unit whose scales lie in `scales` from byte `first` on, and of its block. Every operation is exact but for the
// scales of Q4_K and Q6_K, which are rounded as the CPU rounds them.
template <DType kType, bool kInPairs = true>
ROPEWAY_DEVICE UnitScale<kType> ScaleOf(uint32_t scales, int first, uint32_t block) {
  constexpr float kFactor = kInPairs ? kCodeScale : 1;
  if constexpr (kType == DType::kQ4_K) {
    const float2 both = BytesAt(scales, first);
    return {{__fmul_rn(LowHalf(block) * (kFactor * kCodeScale), both.x)},
            -__fmul_rn(HighHalf(block) * kCodeScale, both.y)};
  } else if constexpr (kType == DType::kQ6_K) {
    const float2 both = CentredBytesAt(scales ^ 0x80808080, first);
    return {{__fmul_rn(LowHalf(block), both.x), __fmul_rn(LowHalf(block), both.y)}};
  } else if constexpr (kType == DType::kQ4_1) {
    return {{LowHalf(scales) * kFactor}, HighHalf(scales)};
  } else if constexpr (kType == DType::kMXFP4) {
    return {{first == 0 ? __uint_as_float(scales << 16) : __uint_as_float(scales & 0xFFFF0000)}};
  } else {
    return {{first == 0 ? LowHalf(scales) : HighHalf(scales)}};
  }
}

// The codes of a part of a unit (device_matrix.h).
template <DType kType>
struct PartCodes {
  static constexpr int kWords = UnitBytesOf(kType).codes / (4 * kUnitParts);
  uint32_t low[kWords];
  // The high bits of two units, and whether this is the second.
  uint32_t high = 0;
  bool second = false;
};

// visit(i, codes i and i + 4, whose bits are kPlace places above the lowest) for i = 0 to 3, codes being what is left of
// `low` under a mask.
template <class Visit>
ROPEWAY_DEVICE void ForNibbles(uint32_t low, const Visit& visit) {
  visit.template operator()<0, 0>(low);
  visit.template operator()<1, 4>(low);
  visit.template operator()<2, 0>(low >> 8);
  visit.template operator()<3, 4>(low >> 8);
}

// Codes times 2^-24, those four places higher times 2^-20.
ROPEWAY_DEVICE void UnpackNibbles(uint32_t low, float (&codes)[kPartColumns]) {
  ForNibbles(low, [&]<int kCode, int kPlace>(uint32_t word) {
    const float2 two = UnpackPair<fp16>(word & 0x000F000Fu << kPlace);
    codes[kCode] = two.x, codes[kCode + 4] = two.y;
  });
}

// The four bits of `word` from kPlace on, exactly: as the last bits of a power of two, which a difference takes away.
template <int kPlace>
ROPEWAY_DEVICE float NibbleAt(uint32_t word) {
  return __uint_as_float(MaskedOr(word, 0xFu << kPlace, (127u + 23 - kPlace) << 23)) -
         static_cast<float>(1 << (23 - kPlace));
}

// Codes themselves. Two more of three steps than by pairs of fp16, but each of them takes less time.
ROPEWAY_DEVICE void UnpackNibblesSingly(uint32_t low, float (&codes)[kPartColumns]) {
#pragma unroll
  for (int i = 0; i < kPartColumns; i += 4) {
    const uint32_t word = i == 0 ? low : low >> 16;
    codes[i] = NibbleAt<0>(word), codes[i + 1] = NibbleAt<4>(word);
    codes[i + 2] = NibbleAt<8>(word), codes[i + 3] = NibbleAt<12>(word);
  }
}

// Codes less kZero, with the two high bits of Q6_K above the four.
template <DType kType, int kZero>
ROPEWAY_DEVICE void UnpackCentred(const PartCodes<kType>& part, float (&codes)[kPartColumns]) {
  ForNibbles(part.low[0], [&]<int kCode, int kPlace>(uint32_t word) {
    // 1024 or 64, whose last bit of ten, or fifth last one, is that of 1.
    constexpr uint32_t kPower = kPlace == 0 ? 0x64006400 : 0x54005400;
    constexpr uint32_t kLess = kPlace == 0 ? 0x00010001u * kZero : 0x00010001u * kZero << 4;
    uint32_t above = kPower;
    if constexpr (kType == DType::kQ6_K) {
      constexpr int kShift = kCode < 2 ? 4 : 2;
      const uint32_t high = part.second ? part.high >> (8 - kShift) : part.high << kShift;
      above = MaskedOr(high, 0x00300030u << kPlace, kPower);
    }
    const uint32_t raised = MaskedOr(word, 0x000F000Fu << kPlace, above);
    const float2 two = UnpackPair<fp16>(SubtractHalves(raised, kPower + kLess));
    codes[kCode] = two.x, codes[kCode + 4] = two.y;
  });
}

// Floats of 4 bits, doubled: magnitudes of three bits name the high and the low bytes of a bf16, four at a time.
ROPEWAY_DEVICE void UnpackE2m1(uint32_t low, float (&codes)[kPartColumns]) {
#pragma unroll
  for (int i = 0; i < kPartColumns; i += 4) {
    const uint32_t names = (i == 0 ? low : low >> 16) & 0x7777, signs = i == 0 ? low : low << 4;
    const uint32_t high = MaskedOr(signs, 0x80808080, __byte_perm(0x40403F00, 0x41414040, names));
    const uint32_t below = __byte_perm(0x40008000, 0x4000C080, names);
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const uint32_t two = __byte_perm(below, high, pair == 0 ? 0x5140 : 0x7362);
      codes[i + 2 * pair] = __uint_as_float(two << 16);
      codes[i + 2 * pair + 1] = __uint_as_float(two & 0xFFFF0000);
    }
  }
}

// Part j of a unit to float32: columns 8 (i / 2) + 2 j + i % 2 of it. Products of a scale and a code are exact, so that a
// fused multiply-add gives what the CPU has, which rounds twice.
template <DType kType, bool kInPairs = true>
ROPEWAY_DEVICE void UnpackPart(const PartCodes<kType>& codes, const UnitScale<kType>& scale,
                               float (&weights)[kPartColumns]) {
  if constexpr (kType == DType::kQ4_1 || kType == DType::kQ4_K) {
    const float higher = kInPairs ? scale.scale[0] * 0x1p-4f : scale.scale[0];
    if constexpr (kInPairs)
      UnpackNibbles(codes.low[0], weights);
    else
      UnpackNibblesSingly(codes.low[0], weights);
#pragma unroll
    for (int i = 0; i < kPartColumns; ++i)
      weights[i] = __fmaf_rn(i % 2 == 0 ? scale.scale[0] : higher, weights[i], scale.offset);
    return;
  }
  if constexpr (kType == DType::kQ8_0) {
#pragma unroll
    for (int i = 0; i < kPartColumns; i += 2) {
      const float2 two = CentredBytesAt(codes.low[i / 4], i % 4);
      weights[i] = two.x, weights[i + 1] = two.y;
    }
  } else if constexpr (kType == DType::kMXFP4) {
    UnpackE2m1(codes.low[0], weights);
  } else {
    UnpackCentred<kType, kType == DType::kQ4_0 ? 8 : 32>(codes, weights);
  }
#pragma unroll
  for (int i = 0; i < kPartColumns; ++i)
    weights[i] = __fmul_rn(scale.scale[i * UnitScale<kType>::kScales / kPartColumns], weights[i]);
}

// ---- A unit a thread.

// A unit as memory has it.
template <DType kType>
struct RawUnit {
  PartCodes<kType> parts[kUnitParts];
  uint32_t scales;  // what the scales plane has, in the low bits first
  uint32_t block;   // likewise the blocks plane
};

template <DType kType>
ROPEWAY_DEVICE uint32_t LoadBlock(const uint8_t* blocks) {
  if constexpr (kType == DType::kQ4_K) return *reinterpret_cast<const uint32_t*>(blocks);
  if constexpr (kType == DType::kQ6_K) return *reinterpret_cast<const uint16_t*>(blocks);
  return 0;
}

template <DType kType>
ROPEWAY_DEVICE PartCodes<kType> LoadPart(const PackedPlanes& planes, int64_t unit, int part) {
  constexpr UnitBytes kBytes = UnitBytesOf(kType);
  const int64_t group = unit / kGroupUnits;
  const int in_group = static_cast<int>(unit % kGroupUnits), at = part * kGroupUnits + in_group;
  const uint8_t* const codes =
      planes.codes + group * kGroupUnits * kBytes.codes + at * (kBytes.codes / kUnitParts);
  PartCodes<kType> raw = {};
  if constexpr (PartCodes<kType>::kWords == 1) {
    raw.low[0] = *reinterpret_cast<const uint32_t*>(codes);
  } else {
    const uint2 words = *reinterpret_cast<const uint2*>(codes);
    raw.low[0] = words.x, raw.low[1] = words.y;
  }
  if constexpr (kBytes.high > 0)
    raw.high = reinterpret_cast<const uint32_t*>(planes.high + group * kGroupUnits * kBytes.high)[at / 2] >>
               (in_group % 2 * 8);
  return raw;
}

template <DType kType>
ROPEWAY_DEVICE RawUnit<kType> LoadUnit(const PackedPlanes& planes, int64_t unit) {
  constexpr UnitBytes kBytes = UnitBytesOf(kType);
  RawUnit<kType> raw;
#pragma unroll
  for (int part = 0; part < kUnitParts; ++part) raw.parts[part] = LoadPart<kType>(planes, unit, part);
  if constexpr (kBytes.scales == 4)
    raw.scales = reinterpret_cast<const uint32_t*>(planes.scales)[unit];
  else
    raw.scales = reinterpret_cast<const uint16_t*>(planes.scales)[unit];
  raw.block = LoadBlock<kType>(planes.blocks + unit / kBlockUnits * kBytes.block);
  return raw;
}

// That unit, whose number is even, and the next one, which may be past a row's last.
template <DType kType>
ROPEWAY_DEVICE void LoadTwoUnits(const PackedPlanes& planes, int64_t unit, RawUnit<kType> (&raw)[2]) {
  constexpr UnitBytes kBytes = UnitBytesOf(kType);
  const int64_t group = unit / kGroupUnits;
  const int first = static_cast<int>(unit % kGroupUnits);
#pragma unroll
  for (int part = 0; part < kUnitParts; ++part) {
    const int at = part * kGroupUnits + first;
    const uint8_t* const codes =
        planes.codes + group * kGroupUnits * kBytes.codes + at * (kBytes.codes / kUnitParts);
    PartCodes<kType>&one = raw[0].parts[part], &two = raw[1].parts[part];
    if constexpr (PartCodes<kType>::kWords == 1) {
      const uint2 words = *reinterpret_cast<const uint2*>(codes);
      one.low[0] = words.x, two.low[0] = words.y;
    } else {
      const uint4 words = *reinterpret_cast<const uint4*>(codes);
      one.low[0] = words.x, one.low[1] = words.y, two.low[0] = words.z, two.low[1] = words.w;
    }
    if constexpr (kBytes.high > 0) {
      one.high = two.high =
          reinterpret_cast<const uint32_t*>(planes.high + group * kGroupUnits * kBytes.high)[at / 2];
      two.second = true;
    }
  }
  if constexpr (kBytes.scales == 4) {
    const uint2 words = *reinterpret_cast<const uint2*>(planes.scales + unit * 4);
    raw[0].scales = words.x, raw[1].scales = words.y;
  } else {
    const uint32_t both = *reinterpret_cast<const uint32_t*>(planes.scales + unit * 2);
    raw[0].scales = both, raw[1].scales = both >> 16;
  }
  raw[0].block = raw[1].block = LoadBlock<kType>(planes.blocks + unit / kBlockUnits * kBytes.block);
}

template <DType kType>
ROPEWAY_DEVICE void UnpackRaw(const RawUnit<kType>& raw, float (&weights)[kUnitColumns]) {
  const UnitScale<kType> scale = ScaleOf<kType>(raw.scales, 0, raw.block);
#pragma unroll
  for (int part = 0; part < kUnitParts; ++part) {
    float some[kPartColumns];
    UnpackPart(raw.parts[part], scale, some);
#pragma unroll
    for (int i = 0; i < kPartColumns; ++i) weights[8 * (i / 2) + 2 * part + i % 2] = some[i];
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
