#include "engine/kernels/cpu/pack.h"

#include <cstring>

#include "engine/tensor/quant_blocks.h"

namespace ropeway::kernels {
namespace {

// Where one row's values go: its place in the planes of its panel.
struct RowPlaces {
  uint8_t* panel;
  int row;  // in the panel
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
void WriteSide(QuantScales scales, const QuantBlock& block, int part, int row, uint8_t* side) {
  switch (scales) {
    case QuantScales::kScaleMin:
      PutHalf(side + 64, row, block.m);
      [[fallthrough]];
    case QuantScales::kScale:
    case QuantScales::kScaleBf16:
      PutHalf(side, row, block.d);
      return;
    case QuantScales::kSuperScaleMin:
      side[row] = block.scales[part];
      side[32 + row] = block.mins[part];
      return;
    case QuantScales::kHalvesScale:
    case QuantScales::kHalvesScaleMin:
      side[row] = block.scales[2 * part];
      side[32 + row] = block.scales[2 * part + 1];
      return;
  }
}

// Writes block `index` of a row of blocks of a type.
void WriteBlock(const DTypeInfo& info, const QuantBlock& block, int64_t index, RowPlaces places) {
  const QuantCode& code = info.code;
  const PanelPlanes planes = PlanesOf(code);
  const int parts = info.block_columns / kQuantBlock;
  for (int part = 0; part < parts; ++part) {
    const int64_t b = index * parts + part;
    uint8_t* codes = places.panel + planes.CodesAt(b);
    const uint8_t* from = block.codes + part * kQuantBlock;
    WritePlane(from, 0, code.low_bits, places.row, codes);
    if (code.high_bits != 0)
      WritePlane(from, code.low_bits, code.high_bits, places.row, codes + code.low_bits * kBitPlane);
    WriteSide(code.scales, block, part, places.row, places.panel + planes.SideAt(b));
  }
  if (planes.super_bytes == 0) return;
  uint8_t* super = places.panel + planes.SuperAt(index * parts);
  PutHalf(super, places.row, block.d);
  if (planes.super_bytes > 64) PutHalf(super + 64, places.row, block.m);
}

// [K][32 rows] of elements that stay as they are.
void PackFloats(int bytes, const uint8_t* file_row, int64_t columns, RowPlaces places) {
  for (int64_t k = 0; k < columns; ++k)
    std::memcpy(places.panel + (k * kPanelRows + places.row) * bytes, file_row + k * bytes, bytes);
}

void PackRow(const DTypeInfo& info, const uint8_t* file_row, int64_t columns, RowPlaces places) {
  if (info.code.low_bits == 0) return PackFloats(info.block_bytes, file_row, columns, places);
  QuantBlock block;
  for (int64_t i = 0; i < columns / info.block_columns; ++i, file_row += info.block_bytes) {
    DecodeBlock(info.type, file_row, block);
    WriteBlock(info, block, i, places);
  }
}

int64_t PanelBytes(const DTypeInfo& info, int64_t columns) {
  if (info.code.low_bits == 0) return columns * kPanelRows * info.block_bytes;
  const PanelPlanes planes = PlanesOf(info.code);
  return columns / kQuantBlock * planes.block_bytes() + columns / kSuperBlock * planes.super_bytes;
}

// Panels of one piece of packing.
constexpr int64_t kPiecePanels = 4;

// Of the rows of all parts in the order of panels: row `index` is nothing where the last panel is padded.
struct SourceRow {
  const TensorView* view = nullptr;
  int64_t row = 0;
};
SourceRow SourceOf(const PackRequest& request, int64_t index) {
  if (request.interleave) {
    const TensorView& view = request.parts[index / 16 % 2];
    const int64_t row = index / 32 * 16 + index % 16;
    return row < view.rows() ? SourceRow{&view, row} : SourceRow{};
  }
  for (const TensorView& view : request.parts) {
    if (index < view.rows()) return {&view, index};
    index -= view.rows();
  }
  return {};
}

void PackPanel(const PackRequest& request, int64_t panel, PackedMatrix& matrix) {
  for (int row = 0; row < kPanelRows; ++row) {
    const SourceRow source = SourceOf(request, panel * kPanelRows + row);
    if (source.view == nullptr) continue;
    PackRow(InfoOf(matrix.type), source.view->data + source.row * RowBytes(matrix.type, matrix.columns),
            matrix.columns, {.panel = matrix.data.data() + panel * matrix.panel_bytes, .row = row});
  }
}

}  // namespace

PackedMatrix PlanPanels(const PackRequest& request) {
  const TensorView& first = request.parts[0];
  const DTypeInfo& info = InfoOf(first.type);
  PackedMatrix matrix{.type = first.type,
                      .activation = info.code.low_bits == 0 ? ActivationKind::kFloat : ActivationKind::kInt8,
                      .interleaved = request.interleave,
                      .columns = first.columns()};
  for (const TensorView& part : request.parts) matrix.rows += part.rows();
  const int64_t padded = request.interleave ? (first.rows() + 15) / 16 * 32 : matrix.rows;
  matrix.panel_bytes = PanelBytes(info, matrix.columns);
  matrix.num_panels = (padded + kPanelRows - 1) / kPanelRows;
  return matrix;
}

AlignedBuffer BufferFor(const PackRequest& request, int64_t bytes) {
  return request.memory == nullptr ? AlignedBuffer(bytes) : request.memory->Take(bytes);
}

PackedMatrix PackPanels(const PackRequest& request) {
  PackedMatrix matrix = PlanPanels(request);
  matrix.data = BufferFor(request, PackedBytes(matrix));
  const auto pack = [&](int64_t piece) {
    for (int64_t i = 0; i < kPiecePanels; ++i)
      if (const int64_t panel = piece * kPiecePanels + i; panel < matrix.num_panels)
        PackPanel(request, panel, matrix);
  };
  const int64_t pieces = (matrix.num_panels + kPiecePanels - 1) / kPiecePanels;
  if (request.for_pieces != nullptr) {
    (*request.for_pieces)(pieces, pack);
    return matrix;
  }
  for (int64_t piece = 0; piece < pieces; ++piece) pack(piece);
  return matrix;
}

}  // namespace ropeway::kernels
