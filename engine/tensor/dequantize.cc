#include "engine/tensor/dequantize.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway {
namespace {

// scale q - min for columns [first, last).
void ScaleCodes(const QuantBlock& block, int zero, int first, int last, float scale, float min, float* out) {
  for (int i = first; i < last; ++i) out[i] = scale * static_cast<float>(block.codes[i] - zero) - min;
}

// The same without a minimum: nothing is taken off, so that zeros keep their sign.
void ScaleCodes(const QuantBlock& block, int zero, int first, int last, float scale, float* out) {
  for (int i = first; i < last; ++i) out[i] = scale * static_cast<float>(block.codes[i] - zero);
}

// Codes that stand for something else as codes of 8 bits.
void LookUp(QuantTable table, int columns, QuantBlock& block) {
  const int8_t* values = kQuantTables[static_cast<int>(table)];
  for (int i = 0; i < columns; ++i) block.codes[i] = static_cast<uint8_t>(values[block.codes[i]] + 128);
}

void ScaleBlock(const QuantCode& code, const QuantBlock& block, int columns, float* out) {
  const bool is_bf16 = code.scales == QuantScales::kScaleBf16;
  const float d = is_bf16 ? BFloat16ToFloat(block.d) : HalfToFloat(block.d), m = HalfToFloat(block.m);
  const int zero = code.zero();
  switch (code.scales) {
    case QuantScales::kScale:
    case QuantScales::kScaleBf16:
      return ScaleCodes(block, zero, 0, columns, d, out);
    case QuantScales::kScaleMin:
      return ScaleCodes(block, zero, 0, columns, d, -m, out);
    case QuantScales::kSuperScaleMin:
      for (int i = 0; i < columns / 32; ++i)
        ScaleCodes(block, zero, 32 * i, 32 * i + 32, d * block.scales[i], m * block.mins[i], out);
      return;
    case QuantScales::kHalvesScale:
      for (int i = 0; i < columns / 16; ++i)
        ScaleCodes(block, zero, 16 * i, 16 * i + 16, d * static_cast<int8_t>(block.scales[i]), out);
      return;
    case QuantScales::kHalvesScaleMin:
      for (int i = 0; i < columns / 16; ++i)
        ScaleCodes(block, zero, 16 * i, 16 * i + 16, d * (block.scales[i] & 15), m * (block.scales[i] >> 4),
                   out);
      return;
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
  const DTypeInfo& info = InfoOf(type);
  if (type == DType::kF32) {
    std::memcpy(out, row, static_cast<size_t>(columns) * sizeof(float));
  } else if (type == DType::kF16) {
    Convert16(row, columns, out, HalfToFloat);
  } else if (type == DType::kBF16) {
    Convert16(row, columns, out, BFloat16ToFloat);
  } else {
    QuantBlock block = {};
    for (int64_t first = 0; first < columns; first += info.block_columns, row += info.block_bytes) {
      DecodeBlock(type, row, block);
      if (info.code.has_table()) LookUp(info.code.table, info.block_columns, block);
      ScaleBlock(info.code, block, info.block_columns, out + first);
    }
  }
}

}  // namespace ropeway
