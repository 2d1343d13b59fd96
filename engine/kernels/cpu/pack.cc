#include "engine/kernels/cpu/pack.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::kernels {
namespace {

// One block of any quantised type in common terms: unsigned codes; scales and minima in their file's
// precision.
struct Block {
  uint8_t codes[kSuperBlock];
  uint16_t d, m;       // fp16; m of types with minima
  uint8_t scales[16];  // of K-quants: per 32 columns, or per 16
  uint8_t mins[8];     // per 32 columns
};

void ReadNibbles(const uint8_t* qs, int half, uint8_t* codes) {
  for (int i = 0; i < half; ++i) {
    codes[i] = qs[i] & 15;
    codes[half + i] = qs[i] >> 4;
  }
}

// The fifth bits of the codes of a 5-bit block.
void AddFifthBits(const uint8_t* qh, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | (qh[i / 8] >> (i % 8) & 1) << 4);
}

void Read(const BlockQ4_0& b, Block& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = b.d;
}

void Read(const BlockQ4_1& b, Block& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = b.d;
  block.m = b.m;
}

void Read(const BlockQ5_0& b, Block& block) {
  ReadNibbles(b.qs, 16, block.codes);
  AddFifthBits(b.qh, block.codes);
  block.d = b.d;
}

void Read(const BlockQ5_1& b, Block& block) {
  ReadNibbles(b.qs, 16, block.codes);
  AddFifthBits(b.qh, block.codes);
  block.d = b.d;
  block.m = b.m;
}

void Read(const BlockQ8_0& b, Block& block) {
  for (int i = 0; i < 32; ++i) block.codes[i] = static_cast<uint8_t>(b.qs[i] + 128);
  block.d = b.d;
}

// The two low bits of column i of a Q2_K or Q3_K block.
int TwoBits(const uint8_t* qs, int i) { return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

void Read(const BlockQ2_K& b, Block& block) {
  for (int i = 0; i < 256; ++i) block.codes[i] = static_cast<uint8_t>(TwoBits(b.qs, i));
  std::memcpy(block.scales, b.scales, sizeof b.scales);
  block.d = b.d;
  block.m = b.dmin;
}

// Codes 0..7 around 4, scales -32..31 as int8.
void Read(const BlockQ3_K& b, Block& block) {
  for (int i = 0; i < 256; ++i) {
    const int high = b.hmask[i % 32] >> (i / 32) & 1;
    block.codes[i] = static_cast<uint8_t>(TwoBits(b.qs, i) | high << 2);
  }
  for (int part = 0; part < 16; ++part)
    block.scales[part] = static_cast<uint8_t>(ScaleQ3K(b.scales, part) - 32);
  block.d = b.d;
}

void ReadScalesAndMins(const uint8_t* scales, Block& block) {
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = ScaleMinOf(scales, part);
    block.scales[part] = s.scale;
    block.mins[part] = s.min;
  }
}

void Read(const BlockQ4_K& b, Block& block) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, block.codes + 64 * i);
  ReadScalesAndMins(b.scales, block);
  block.d = b.d;
  block.m = b.dmin;
}

void Read(const BlockQ5_K& b, Block& block) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, block.codes + 64 * i);
  for (int i = 0; i < 256; ++i)
    block.codes[i] = static_cast<uint8_t>(block.codes[i] | (b.qh[i % 32] >> (i / 32) & 1) << 4);
  ReadScalesAndMins(b.scales, block);
  block.d = b.d;
  block.m = b.dmin;
}

void Read(const BlockQ6_K& b, Block& block) {
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, quarter = i % 128 / 32, column = i % 32;
    const int low = b.ql[run * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
    const int high = b.qh[run * 32 + column] >> (quarter * 2) & 3;
    block.codes[i] = static_cast<uint8_t>(low | high << 4);
  }
  std::memcpy(block.scales, b.scales, sizeof b.scales);
  block.d = b.d;
}

// Where one row's values go: its place in the planes of its panel.
struct RowPlaces {
  uint8_t* panel;
  int row;  // in the panel
  PanelLayout layout;
};

// Puts `kBits` bits of four codes at a time, from bit `from` of each, into a plane.
void WritePlane(const uint8_t* codes, int from, int bits, int row, uint8_t* plane) {
  const uint32_t mask = ((1u << bits) - 1) * 0x01010101u;
  const int groups = 8 / bits;  // in a byte
  for (int group = 0; group < 8; ++group) {
    uint32_t four, word;
    uint8_t* to = plane + group / groups * kBitPlane + row * 4;
    std::memcpy(&four, codes + group * 4, sizeof four);
    std::memcpy(&word, to, sizeof word);
    word |= (four >> from & mask) << (group % groups * bits);
    std::memcpy(to, &word, sizeof word);
  }
}

void PutHalf(uint8_t* halves, int row, uint16_t value) {
  std::memcpy(halves + 2 * row, &value, sizeof value);
}

// What belongs to the block's 32 columns number `part`, in the side plane.
void WriteSide(const IntegerFormat& format, const Block& block, int part, int row, uint8_t* side) {
  switch (format.scales) {
    case kScaleMin:
      PutHalf(side + 64, row, block.m);
      [[fallthrough]];
    case kScale:
      PutHalf(side, row, block.d);
      return;
    case kSuperScaleMin:
      side[row] = block.scales[part];
      side[32 + row] = block.mins[part];
      return;
    case kHalvesScale:
    case kHalvesScaleMin:
      side[row] = block.scales[2 * part];
      side[32 + row] = block.scales[2 * part + 1];
      return;
  }
}

// Writes block `index` of a row of blocks that have `columns` columns.
void WriteBlock(const IntegerFormat& format, const Block& block, int64_t index, int columns,
                RowPlaces places) {
  const int parts = columns / kBlock;
  for (int part = 0; part < parts; ++part) {
    const int64_t b = index * parts + part;
    uint8_t* codes = places.panel + b * format.code_bytes;
    const uint8_t* from = block.codes + part * kBlock;
    WritePlane(from, 0, format.low_bits, places.row, codes);
    if (format.high_bits != 0)
      WritePlane(from, format.low_bits, format.high_bits, places.row, codes + format.low_bits * kBitPlane);
    WriteSide(format, block, part, places.row, places.panel + places.layout.side + b * format.side_bytes);
  }
  if (format.super_bytes == 0) return;
  uint8_t* super = places.panel + places.layout.super + index * format.super_bytes;
  PutHalf(super, places.row, block.d);
  if (format.super_bytes > 64) PutHalf(super + 64, places.row, block.m);
}

template <typename FileBlock>
void PackBlocks(PanelFormat format, const uint8_t* file_row, int64_t columns, RowPlaces places) {
  const int block_columns = kIntegerFormats[format].super_bytes != 0 ? kSuperBlock : kBlock;
  Block block;
  for (int64_t i = 0; i < columns / block_columns; ++i, file_row += sizeof(FileBlock)) {
    FileBlock from;
    std::memcpy(&from, file_row, sizeof from);
    Read(from, block);
    WriteBlock(kIntegerFormats[format], block, i, block_columns, places);
  }
}

// [K][32 rows] of elements that stay as they are.
template <int kBytes>
void PackFloats(const uint8_t* file_row, int64_t columns, RowPlaces places) {
  for (int64_t k = 0; k < columns; ++k)
    std::memcpy(places.panel + (k * kRows + places.row) * kBytes, file_row + k * kBytes, kBytes);
}

void PackRow(PanelFormat format, const uint8_t* file_row, int64_t columns, RowPlaces places) {
  switch (format) {
    case kPanelQ4_0:
      return PackBlocks<BlockQ4_0>(format, file_row, columns, places);
    case kPanelQ4_1:
      return PackBlocks<BlockQ4_1>(format, file_row, columns, places);
    case kPanelQ5_0:
      return PackBlocks<BlockQ5_0>(format, file_row, columns, places);
    case kPanelQ5_1:
      return PackBlocks<BlockQ5_1>(format, file_row, columns, places);
    case kPanelQ8_0:
      return PackBlocks<BlockQ8_0>(format, file_row, columns, places);
    case kPanelQ2_K:
      return PackBlocks<BlockQ2_K>(format, file_row, columns, places);
    case kPanelQ3_K:
      return PackBlocks<BlockQ3_K>(format, file_row, columns, places);
    case kPanelQ4_K:
      return PackBlocks<BlockQ4_K>(format, file_row, columns, places);
    case kPanelQ5_K:
      return PackBlocks<BlockQ5_K>(format, file_row, columns, places);
    case kPanelQ6_K:
      return PackBlocks<BlockQ6_K>(format, file_row, columns, places);
    case kPanelF32:
      return PackFloats<4>(file_row, columns, places);
    case kPanelF16:
    case kPanelBF16:
      return PackFloats<2>(file_row, columns, places);
  }
}

PanelFormat PanelFormatOf(DType type) {
  switch (type) {
    case DType::kF32:
      return kPanelF32;
    case DType::kF16:
      return kPanelF16;
    case DType::kBF16:
      return kPanelBF16;
    case DType::kQ4_0:
      return kPanelQ4_0;
    case DType::kQ4_1:
      return kPanelQ4_1;
    case DType::kQ5_0:
      return kPanelQ5_0;
    case DType::kQ5_1:
      return kPanelQ5_1;
    case DType::kQ8_0:
      return kPanelQ8_0;
    case DType::kQ2_K:
      return kPanelQ2_K;
    case DType::kQ3_K:
      return kPanelQ3_K;
    case DType::kQ4_K:
      return kPanelQ4_K;
    case DType::kQ5_K:
      return kPanelQ5_K;
    case DType::kQ6_K:
      return kPanelQ6_K;
  }
  ROPEWAY_CHECK(false);
}

}  // namespace

PanelLayout PanelLayoutOf(PanelFormat format, int64_t columns) {
  if (format >= kNumIntegerFormats) return {0, 0, columns * kRows * (format == kPanelF32 ? 4 : 2)};
  const IntegerFormat& planes = kIntegerFormats[format];
  const int64_t side = columns / kBlock * planes.code_bytes;
  const int64_t super = side + columns / kBlock * planes.side_bytes;
  return {side, super, super + columns / kSuperBlock * planes.super_bytes};
}

PackedMatrix PackPanels(const PackRequest& request) {
  const TensorView& first = request.parts[0];
  const PanelFormat format = PanelFormatOf(first.type);
  PackedMatrix matrix{
      .type = first.type,
      .activation = format >= kNumIntegerFormats ? ActivationKind::kFloat : ActivationKind::kInt8,
      .format = format,
      .interleaved = request.interleave,
      .columns = first.columns()};
  for (const TensorView& part : request.parts) matrix.rows += part.rows();
  const int64_t padded = request.interleave ? (first.rows() + 15) / 16 * 32 : matrix.rows;
  const PanelLayout layout = PanelLayoutOf(format, matrix.columns);
  matrix.panel_bytes = layout.bytes;
  matrix.num_panels = (padded + kRows - 1) / kRows;
  matrix.data = AlignedBuffer(matrix.num_panels * matrix.panel_bytes);

  int64_t next = 0;
  for (size_t part = 0; part < request.parts.size(); ++part) {
    const TensorView& view = request.parts[part];
    const int64_t row_bytes = RowBytes(view.type, view.columns());
    for (int64_t i = 0; i < view.rows(); ++i) {
      const int64_t index =
          request.interleave ? i / 16 * 32 + i % 16 + 16 * static_cast<int64_t>(part) : next++;
      PackRow(format, view.data + i * row_bytes, matrix.columns,
              {.panel = matrix.data.data() + index / kRows * matrix.panel_bytes,
               .row = static_cast<int>(index % kRows),
               .layout = layout});
    }
  }
  return matrix;
}

}  // namespace ropeway::kernels
