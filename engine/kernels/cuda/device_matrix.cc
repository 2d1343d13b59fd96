#include "engine/kernels/cuda/device_matrix.h"

#include <cstring>
#include <vector>

#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::cuda {
namespace {

// Where one block of a file goes.
struct Destination {
  uint8_t *codes, *high, *scales, *block;
};

void Pack(const BlockQ4_0& block, const Destination& to) {
  std::memcpy(to.codes, block.qs, sizeof block.qs);
  std::memcpy(to.scales, &block.d, sizeof block.d);
}

void Pack(const BlockQ4_1& block, const Destination& to) {
  std::memcpy(to.codes, block.qs, sizeof block.qs);
  std::memcpy(to.scales, &block.d, sizeof block.d);
  std::memcpy(to.scales + 2, &block.m, sizeof block.m);
}

void Pack(const BlockQ8_0& block, const Destination& to) {
  std::memcpy(to.codes, block.qs, sizeof block.qs);
  std::memcpy(to.scales, &block.d, sizeof block.d);
}

// 32 codes of four bits as a unit has them.
void PackNibbles(const uint8_t* codes, uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

void Pack(const BlockQ4_K& block, const Destination& to) {
  for (int unit = 0; unit < kBlockUnits; ++unit) {
    uint8_t codes[kUnitColumns];
    for (int i = 0; i < kUnitColumns; ++i) codes[i] = block.qs[unit / 2 * 32 + i] >> (unit % 2 * 4) & 15;
    PackNibbles(codes, to.codes + unit * 16);
    const ScaleMin scale = ScaleMinOf(block.scales, unit);
    to.scales[unit * 2] = scale.scale;
    to.scales[unit * 2 + 1] = scale.min;
  }
  std::memcpy(to.block, &block.d, sizeof block.d);
  std::memcpy(to.block + 2, &block.dmin, sizeof block.dmin);
}

void Pack(const BlockQ6_K& block, const Destination& to) {
  for (int unit = 0; unit < kBlockUnits; ++unit) {
    const int run = unit / 4, quarter = unit % 4;
    uint8_t codes[kUnitColumns];
    uint8_t* high = to.high + unit * 8;
    std::memset(high, 0, 8);
    for (int i = 0; i < kUnitColumns; ++i) {
      codes[i] = block.ql[run * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
      const int two_bits = block.qh[run * 32 + i] >> (quarter * 2) & 3;
      high[i % 8] = static_cast<uint8_t>(high[i % 8] | two_bits << (i / 8 * 2));
    }
    PackNibbles(codes, to.codes + unit * 16);
  }
  std::memcpy(to.scales, block.scales, sizeof block.scales);
  std::memcpy(to.block, &block.d, sizeof block.d);
}

template <class Block>
void PackBlocks(const TensorView& view, const PackedLayout& layout, int64_t first_row, uint8_t* out) {
  const UnitBytes bytes = UnitBytesOf(view.type);
  const int64_t units_per_block = InfoOf(view.type).block_columns / kUnitColumns;
  const int64_t first_unit = first_row * (view.columns() / kUnitColumns);
  const int64_t blocks = view.rows() * view.columns() / InfoOf(view.type).block_columns;
  for (int64_t i = 0; i < blocks; ++i) {
    Block block;
    std::memcpy(&block, view.data + i * static_cast<int64_t>(sizeof block), sizeof block);
    const int64_t unit = first_unit + i * units_per_block;
    Pack(block, {.codes = out + layout.codes + unit * bytes.codes,
                 .high = out + layout.high + unit * bytes.high,
                 .scales = out + layout.scales + unit * bytes.scales,
                 .block = out + layout.blocks + unit / kBlockUnits * bytes.block});
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
  switch (device_type) {
    case DType::kQ4_0:
      return PackBlocks<BlockQ4_0>(view, layout, first_row, out);
    case DType::kQ4_1:
      return PackBlocks<BlockQ4_1>(view, layout, first_row, out);
    case DType::kQ8_0:
      return PackBlocks<BlockQ8_0>(view, layout, first_row, out);
    case DType::kQ4_K:
      return PackBlocks<BlockQ4_K>(view, layout, first_row, out);
    default:
      return PackBlocks<BlockQ6_K>(view, layout, first_row, out);
  }
}

}  // namespace ropeway::cuda
