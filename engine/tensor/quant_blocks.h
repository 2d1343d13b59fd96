// The blocks of GGUF's quantised types: as they lie in a file, and decoded to what they have in common. `d`
// and `m` are fp16.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_
#define ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace ropeway {

// value = d * (q - 8); columns 0..15 in the low nibbles, 16..31 in the high ones
struct BlockQ4_0 {
  static constexpr DType kType = DType::kQ4_0;
  uint16_t d;
  uint8_t qs[16];
};

// value = d * q + m; nibbles as in Q4_0
struct BlockQ4_1 {
  static constexpr DType kType = DType::kQ4_1;
  uint16_t d, m;
  uint8_t qs[16];
};

// value = d * (q - 16); nibbles as in Q4_0, the fifth bit of column i in bit i of qh
struct BlockQ5_0 {
  static constexpr DType kType = DType::kQ5_0;
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};

// value = d * q + m; codes as in Q5_0
struct BlockQ5_1 {
  static constexpr DType kType = DType::kQ5_1;
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};

// value = d * qs[i]
struct BlockQ8_0 {
  static constexpr DType kType = DType::kQ8_0;
  uint16_t d;
  int8_t qs[32];
};

// value = d * (scale & 15) * q - dmin * (scale >> 4); sixteen parts of 16 columns; two bits each, in runs of
// 128 columns: columns 32 j .. 32 j + 31 of a run are bits 2 j, 2 j + 1 of its 32 bytes
struct BlockQ2_K {
  static constexpr DType kType = DType::kQ2_K;
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;
};

// value = d * (scale - 32) * (q - 4); sixteen parts of 16 columns with 6-bit scales; two low bits as in Q2_K,
// the high bit of column 32 j + i in bit j of hmask[i]
struct BlockQ3_K {
  static constexpr DType kType = DType::kQ3_K;
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};

// value = d * scale * q - dmin * min; eight parts of 32 columns with 6-bit scale and min; nibbles in runs of
// 64 columns
struct BlockQ4_K {
  static constexpr DType kType = DType::kQ4_K;
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};

// As Q4_K, the fifth bit of column 32 j + i in bit j of qh[i]
struct BlockQ5_K {
  static constexpr DType kType = DType::kQ5_K;
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

// value = d * scale * (q - 32); sixteen parts of 16 columns with int8 scales; in runs of 128 columns, four
// low bits in ql, two high bits in qh
struct BlockQ6_K {
  static constexpr DType kType = DType::kQ6_K;
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

// value = d * table[q], the table IQ4_NL's; nibbles as in Q4_0
struct BlockIQ4_NL {
  static constexpr DType kType = DType::kIQ4_NL;
  uint16_t d;
  uint8_t qs[16];
};

// value = d * (scale - 32) * table[q], the table IQ4_NL's; eight parts of 32 columns, nibbles as in Q4_0 in each. 6-bit
// scales: four low bits of part j in nibble j of scales_l, two high bits in bits 2 j, 2 j + 1 of scales_h
struct BlockIQ4_XS {
  static constexpr DType kType = DType::kIQ4_XS;
  uint16_t d, scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};

// value = 2^(e - 128) * table[q], the table E2M1's; nibbles as in Q4_0. No e is infinite: 255 counts as any other
struct BlockMXFP4 {
  static constexpr DType kType = DType::kMXFP4;
  uint8_t e;
  uint8_t qs[16];
};

// A block of any quantised type in common terms: unsigned codes, in the order of columns; scales and minima
// as QuantScales says.
struct QuantBlock {
  uint8_t codes[256];
  uint16_t d, m;       // fp16, or d bf16; m of types with minima
  uint8_t scales[16];  // per 32 columns, or per 16; scale | min << 4 of kHalvesScaleMin
  uint8_t mins[8];     // per 32 columns
};

// Decodes the block of `type` at `bytes`, at any alignment. REQUIRES: the type is quantised.
void DecodeBlock(DType type, const uint8_t* bytes, QuantBlock& block);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_
