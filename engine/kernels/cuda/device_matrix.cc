#include "engine/kernels/cuda/device_matrix.h"

#include <cstring>
#include <vector>

#include "engine/base/check.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::cuda {
namespace {

// Where one block of a file goes.
struct Destination {
  uint8_t *codes, *high, *scales, *block;
};

// 32 codes of four bits as a unit has them.
void PackNibbles(const uint8_t* codes, uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

// The two bits above four of 32 codes.
void PackHighBits(const uint8_t* codes, uint8_t* out) {
  std::memset(out, 0, 8);
  for (int i = 0; i < kUnitColumns; ++i)
    out[i % 8] = static_cast<uint8_t>(out[i % 8] | (codes[i] >> 4 & 3) << (i / 8 * 2));
}

void PackCodes(const QuantCode& code, const uint8_t* codes, const Destination& to, int unit) {
  if (code.low_bits == 8) {  // signed on the device
    for (int i = 0; i < kUnitColumns; ++i)
      to.codes[unit * kUnitColumns + i] = static_cast<uint8_t>(codes[i] ^ 0x80);
    return;
  }
  PackNibbles(codes, to.codes + unit * 16);
  if (code.high_bits == 2) PackHighBits(codes, to.high + unit * 8);
}

void PackScales(const QuantCode& code, const QuantBlock& block, int units, const Destination& to) {
  switch (code.scales) {
    case QuantScales::kScaleMin:
      std::memcpy(to.scales + 2, &block.m, sizeof block.m);
      [[fallthrough]];
    case QuantScales::kScale:
    case QuantScales::kScaleBf16:
      std::memcpy(to.scales, &block.d, sizeof block.d);
      return;
    case QuantScales::kSuperScaleMin:
      for (int unit = 0; unit < units; ++unit) {
        to.scales[2 * unit] = block.scales[unit];
        to.scales[2 * unit + 1] = block.mins[unit];
      }
      std::memcpy(to.block, &block.d, sizeof block.d);
      std::memcpy(to.block + 2, &block.m, sizeof block.m);
      return;
    case QuantScales::kHalvesScale:
      std::memcpy(to.scales, block.scales, sizeof block.scales);
      std::memcpy(to.block, &block.d, sizeof block.d);
      return;
    case QuantScales::kHalvesScaleMin:
      ROPEWAY_CHECK(false);  // of no type that stays packed
  }
}

void PackBlocks(const TensorView& view, const PackedLayout& layout, int64_t first_row, uint8_t* out) {
  const DTypeInfo& info = InfoOf(view.type);
  const UnitBytes bytes = UnitBytesOf(view.type);
  const int units = info.block_columns / kUnitColumns;
  const int64_t first_unit = first_row * (view.columns() / kUnitColumns);
  const int64_t blocks = view.rows() * view.columns() / info.block_columns;
  QuantBlock block;
  for (int64_t i = 0; i < blocks; ++i) {
    DecodeBlock(view.type, view.data + i * info.block_bytes, block);
    const int64_t unit = first_unit + i * units;
    const Destination to{.codes = out + layout.codes + unit * bytes.codes,
                         .high = out + layout.high + unit * bytes.high,
                         .scales = out + layout.scales + unit * bytes.scales,
                         .block = out + layout.blocks + unit / kBlockUnits * bytes.block};
    for (int u = 0; u < units; ++u) PackCodes(info.code, block.codes + u * kUnitColumns, to, u);
    PackScales(info.code, block, units, to);
  }
}

void PackDense(const TensorView& view, DType device_type, uint8_t* out) {
  const int64_t columns = view.columns(), file_bytes = RowBytes(view.type, columns);
  const int64_t device_bytes = RowBytes(device_type, columns);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t i = 0; i < view.rows(); ++i, out += device_bytes) {
    const uint8_t* source = view.data + i * file_bytes;
    if (view.type == device_type) {
      std::memcpy(out, source, static_cast<size_t>(device_bytes));
      continue;
    }
    DequantizeRow(view.type, source, columns, row.data());
    if (device_type == DType::kF32) {
      std::memcpy(out, row.data(), static_cast<size_t>(device_bytes));
      continue;
    }
    for (int64_t column = 0; column < columns; ++column) {
      const uint16_t value =
          device_type == DType::kF16 ? FloatToHalf(row[column]) : FloatToBFloat16(row[column]);
      std::memcpy(out + 2 * column, &value, sizeof value);
    }
  }
}

}  // namespace

int64_t DeviceMatrixBytes(DType device_type, int64_t rows, int64_t columns) {
  return IsPacked(device_type) ? LayoutOf(device_type, rows, columns).bytes
                               : rows * RowBytes(device_type, columns);
}

void PackRows(const TensorView& view, DType device_type, int64_t total_rows, int64_t first_row,
              uint8_t* out) {
  if (!IsPacked(device_type)) {
    PackDense(view, device_type, out + first_row * RowBytes(device_type, view.columns()));
    return;
  }
  const PackedLayout layout = LayoutOf(device_type, total_rows, view.columns());
  PackBlocks(view, layout, first_row, out);
}

}  // namespace ropeway::cuda
