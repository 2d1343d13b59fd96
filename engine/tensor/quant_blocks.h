// The blocks of GGUF's quantised types, as they lie in a file. `d` and `m` are fp16.
#ifndef ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_
#define ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_

#include <cstdint>

namespace ropeway {

// value = d * (q - 8); columns 0..15 in the low nibbles, 16..31 in the high ones
struct BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};

// value = d * q + m; nibbles as in Q4_0
struct BlockQ4_1 {
  uint16_t d, m;
  uint8_t qs[16];
};

// value = d * (q - 16); nibbles as in Q4_0, the fifth bit of column i in bit i of qh
struct BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};

// value = d * q + m; codes as in Q5_0
struct BlockQ5_1 {
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};

// value = d * qs[i]
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};

// value = d * (scale & 15) * q - dmin * (scale >> 4); sixteen parts of 16 columns; two bits each, in runs of
// 128 columns: columns 32 j .. 32 j + 31 of a run are bits 2 j, 2 j + 1 of its 32 bytes
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;
};

// value = d * (scale - 32) * (q - 4); sixteen parts of 16 columns with 6-bit scales; two low bits as in Q2_K,
// the high bit of column 32 j + i in bit j of hmask[i]
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};

// value = d * scale * q - dmin * min; eight parts of 32 columns with 6-bit scale and min; nibbles in runs of
// 64 columns
struct BlockQ4_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};

// As Q4_K, the fifth bit of column 32 j + i in bit j of qh[i]
struct BlockQ5_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

// value = d * scale * (q - 32); sixteen parts of 16 columns with int8 scales; in runs of 128 columns, four
// low bits in ql, two high bits in qh
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
              sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

// The 6-bit scale and min of part j (0..7) of a Q4_K or Q5_K block: parts 0..3 lie in the low six bits of
// bytes j and j + 4, parts 4..7 in nibbles of bytes j + 4 and the two high bits of bytes j - 4 and j.
struct ScaleMin {
  uint8_t scale, min;
};
constexpr ScaleMin ScaleMinOf(const uint8_t* scales, int j) {
  if (j < 4) return {static_cast<uint8_t>(scales[j] & 63), static_cast<uint8_t>(scales[j + 4] & 63)};
  return {static_cast<uint8_t>((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4),
          static_cast<uint8_t>((scales[j + 4] >> 4) | (scales[j] >> 6) << 4)};
}

// The 6-bit scale of part j (0..15) of a Q3_K block, zero at 32: four low bits in nibbles of bytes 0..7, two
// high bits in bytes 8..11.
constexpr int ScaleQ3K(const uint8_t* scales, int j) {
  const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
  const int high = scales[8 + j % 4] >> (2 * (j / 4)) & 3;
  return low | high << 4;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_QUANT_BLOCKS_H_
