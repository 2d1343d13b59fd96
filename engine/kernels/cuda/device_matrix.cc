#include "engine/kernels/cuda/device_matrix.h"

#include <cstring>
#include <vector>

#include "engine/base/check.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::cuda {
namespace {

// Where a row goes.
struct Destination {
  uint8_t *codes, *high, *scales, *blocks;
};

// Which column of its unit code i of a part is.
constexpr int ColumnOf(int part, int i) { return 8 * (i / 2) + 2 * part + i % 2; }

// The bytes of part 0 of a unit in a plane that has so many for a unit; those of part j are `apart` further on.
struct Parts {
  uint8_t* first;
  int64_t apart;

  uint8_t* Of(int part) const { return first + part * apart; }
};
Parts PartsOf(uint8_t* row, int64_t unit, int unit_bytes) {
  const int64_t group = unit / kGroupUnits, in_group = unit % kGroupUnits,
                part_bytes = unit_bytes / kUnitParts;
  return {row + group * kGroupUnits * unit_bytes + in_group * part_bytes, kGroupUnits * part_bytes};
}

// Eight codes of four bits; with the top ones as MXFP4 has its signs, of which 0 has none.
uint32_t PackedNibbles(const uint8_t (&codes)[kPartColumns], bool signs) {
  uint32_t word = 0;
  for (uint32_t i = 0; i < kPartColumns; ++i) {
    word |= (codes[i] & (signs ? 7u : 15u)) << (4 * i);
    if (signs && (codes[i] & 7) != 0) word |= (codes[i] >> 3 & 1u) << (i < 4 ? 8 * i + 7 : 8 * (i - 4) + 3);
  }
  return word;
}

// The two bits above four of eight codes, to a word that two units share.
void PackHighBits(const uint8_t (&codes)[kPartColumns], bool second, uint8_t* to) {
  for (int i = 0; i < kPartColumns; ++i) {
    uint8_t& byte = to[i / 4 * 2 + (second ? 1 : 0)];
    const int at = 4 * (i % 2) + i % 4 / 2 * 2;
    byte = static_cast<uint8_t>((byte & ~(3 << at)) | (codes[i] >> 4 & 3) << at);
  }
}

void PackCodes(DType type, const uint8_t* codes, const Destination& row, int64_t unit) {
  const QuantCode& code = InfoOf(type).code;
  const UnitBytes bytes = UnitBytesOf(type);
  for (int part = 0; part < kUnitParts; ++part) {
    uint8_t own[kPartColumns];
    for (int i = 0; i < kPartColumns; ++i) own[i] = codes[ColumnOf(part, i)];
    uint8_t* const to = PartsOf(row.codes, unit, bytes.codes).Of(part);
    if (code.low_bits == 8) {
      std::memcpy(to, own, sizeof own);
      continue;
    }
    const uint32_t low = PackedNibbles(own, code.has_table());
    std::memcpy(to, &low, sizeof low);
    if (code.high_bits == 0) continue;
    PackHighBits(own, unit % 2 != 0, PartsOf(row.high, unit - unit % 2, bytes.high).Of(part));
  }
}

// Of a block of so many units.
void PackScales(const QuantCode& code, const QuantBlock& block, int units, uint8_t* scales,
                uint8_t* to_block) {
  switch (code.scales) {
    case QuantScales::kScaleMin:
      std::memcpy(scales + 2, &block.m, sizeof block.m);
      [[fallthrough]];
    case QuantScales::kScale:
    case QuantScales::kScaleBf16:
      std::memcpy(scales, &block.d, sizeof block.d);
      return;
    case QuantScales::kSuperScaleMin:
      for (int unit = 0; unit < units; ++unit) {
        scales[2 * unit] = block.scales[unit];
        scales[2 * unit + 1] = block.mins[unit];
      }
      std::memcpy(to_block, &block.d, sizeof block.d);
      std::memcpy(to_block + 2, &block.m, sizeof block.m);
      return;
    case QuantScales::kHalvesScale:
      std::memcpy(scales, block.scales, sizeof block.scales);
      std::memcpy(to_block, &block.d, sizeof block.d);
      return;
    case QuantScales::kHalvesScaleMin:
      ROPEWAY_CHECK(false);  // of no type that stays packed
  }
}

void PackRow(DType type, const uint8_t* file, int64_t columns, const Destination& row) {
  const DTypeInfo& info = InfoOf(type);
  const UnitBytes bytes = UnitBytesOf(type);
  const int units = info.block_columns / kUnitColumns;
  QuantBlock block;
  for (int64_t i = 0; i < columns / info.block_columns; ++i) {
    DecodeBlock(type, file + i * info.block_bytes, block);
    for (int u = 0; u < units; ++u) PackCodes(type, block.codes + u * kUnitColumns, row, i * units + u);
    PackScales(info.code, block, units, row.scales + i * units * bytes.scales,
               row.blocks + i * units / kBlockUnits * bytes.block);
  }
}

void PackPlanes(const TensorView& view, const PackedLayout& layout, int64_t first_row, uint8_t* out) {
  const UnitBytes bytes = UnitBytesOf(view.type);
  const int64_t units = RowUnits(view.columns()), file_bytes = RowBytes(view.type, view.columns());
  for (int64_t i = 0; i < view.rows(); ++i) {
    const int64_t unit = (first_row + i) * units;
    PackRow(view.type, view.data + i * file_bytes, view.columns(),
            {.codes = out + layout.codes + unit * bytes.codes,
             .high = out + layout.high + unit * bytes.high,
             .scales = out + layout.scales + unit * bytes.scales,
             .blocks = out + layout.blocks + unit / kBlockUnits * bytes.block});
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
  PackPlanes(view, layout, first_row, out);
}

}  // namespace ropeway::cuda
