#include "engine/tensor/dequantize.h"

#include <cstring>

#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway {
namespace {

void Dequantize(const BlockQ4_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((b.qs[i] >> 4) - 8);
  }
}

void Dequantize(const BlockQ4_1& b, float* out) {
  const float d = HalfToFloat(b.d), m = HalfToFloat(b.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(b.qs[i] >> 4) + m;
  }
}

// The code of column i of a 5-bit block.
template <typename Block>
int FiveBits(const Block& b, int i) {
  const int low = i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4;
  return low | (b.qh[i / 8] >> (i % 8) & 1) << 4;
}

void Dequantize(const BlockQ5_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(FiveBits(b, i) - 16);
}

void Dequantize(const BlockQ5_1& b, float* out) {
  const float d = HalfToFloat(b.d), m = HalfToFloat(b.m);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(FiveBits(b, i)) + m;
}

void Dequantize(const BlockQ8_0& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(b.qs[i]);
}

// Two bits of column i of a Q2_K or Q3_K block.
int TwoBits(const uint8_t* qs, int i) { return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

void Dequantize(const BlockQ2_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int part = 0; part < 16; ++part) {
    const float scale = d * static_cast<float>(b.scales[part] & 15),
                min = dmin * static_cast<float>(b.scales[part] >> 4);
    for (int i = part * 16; i < part * 16 + 16; ++i)
      out[i] = scale * static_cast<float>(TwoBits(b.qs, i)) - min;
  }
}

void Dequantize(const BlockQ3_K& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int part = 0; part < 16; ++part) {
    const float scale = d * static_cast<float>(ScaleQ3K(b.scales, part) - 32);
    for (int i = part * 16; i < part * 16 + 16; ++i) {
      const int high = b.hmask[i % 32] >> (i / 32) & 1;
      out[i] = scale * static_cast<float>(TwoBits(b.qs, i) - (high ? 0 : 4));
    }
  }
}

// The nibble of column i of a Q4_K or Q5_K block.
int Nibble(const uint8_t* qs, int i) { return qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15; }

void Dequantize(const BlockQ4_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = ScaleMinOf(b.scales, part);
    const float scale = d * s.scale, min = dmin * s.min;
    for (int i = part * 32; i < part * 32 + 32; ++i)
      out[i] = scale * static_cast<float>(Nibble(b.qs, i)) - min;
  }
}

void Dequantize(const BlockQ5_K& b, float* out) {
  const float d = HalfToFloat(b.d), dmin = HalfToFloat(b.dmin);
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = ScaleMinOf(b.scales, part);
    const float scale = d * s.scale, min = dmin * s.min;
    for (int i = part * 32; i < part * 32 + 32; ++i) {
      const int code = Nibble(b.qs, i) | (b.qh[i % 32] >> part & 1) << 4;
      out[i] = scale * static_cast<float>(code) - min;
    }
  }
}

void Dequantize(const BlockQ6_K& b, float* out) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, quarter = i % 128 / 32, column = i % 32;
    const int low = b.ql[run * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
    const int high = b.qh[run * 32 + column] >> (quarter * 2) & 3;
    out[i] = d * static_cast<float>(b.scales[i / 16]) * static_cast<float>((low | high << 4) - 32);
  }
}

template <typename Block>
void DequantizeBlocks(const uint8_t* row, int64_t columns, int block_columns, float* out) {
  for (int64_t first = 0; first < columns; first += block_columns, row += sizeof(Block)) {
    Block block;
    std::memcpy(&block, row, sizeof block);
    Dequantize(block, out + first);
  }
}

template <typename Convert>
void Convert16(const uint8_t* row, int64_t columns, float* out, Convert convert) {
  for (int64_t i = 0; i < columns; ++i) {
    uint16_t value;
    std::memcpy(&value, row + 2 * i, sizeof value);
    out[i] = convert(value);
  }
}

}  // namespace

void DequantizeRow(DType type, const uint8_t* row, int64_t columns, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, row, static_cast<size_t>(columns) * sizeof(float));
      return;
    case DType::kF16:
      return Convert16(row, columns, out, HalfToFloat);
    case DType::kBF16:
      return Convert16(row, columns, out, BFloat16ToFloat);
    case DType::kQ4_0:
      return DequantizeBlocks<BlockQ4_0>(row, columns, 32, out);
    case DType::kQ4_1:
      return DequantizeBlocks<BlockQ4_1>(row, columns, 32, out);
    case DType::kQ5_0:
      return DequantizeBlocks<BlockQ5_0>(row, columns, 32, out);
    case DType::kQ5_1:
      return DequantizeBlocks<BlockQ5_1>(row, columns, 32, out);
    case DType::kQ8_0:
      return DequantizeBlocks<BlockQ8_0>(row, columns, 32, out);
    case DType::kQ2_K:
      return DequantizeBlocks<BlockQ2_K>(row, columns, 256, out);
    case DType::kQ3_K:
      return DequantizeBlocks<BlockQ3_K>(row, columns, 256, out);
    case DType::kQ4_K:
      return DequantizeBlocks<BlockQ4_K>(row, columns, 256, out);
    case DType::kQ5_K:
      return DequantizeBlocks<BlockQ5_K>(row, columns, 256, out);
    case DType::kQ6_K:
      return DequantizeBlocks<BlockQ6_K>(row, columns, 256, out);
  }
}

}  // namespace ropeway
