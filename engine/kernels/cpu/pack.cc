#include "engine/kernels/cpu/pack.h"

#include <cstring>
#include <vector>

#include "engine/base/check.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway::kernels {
namespace {

// One row of any quantised type in common terms: unsigned codes, scales and mins still in their file's
// precision.
struct Row {
  std::vector<uint8_t> codes;         // [columns]
  std::vector<uint16_t> d, m;         // fp16 per block of the file
  std::vector<uint8_t> scales, mins;  // integer scales of K-quants, per 32 columns, or per 16 (as int8)

  void Clear() {
    for (auto* bytes : {&codes, &scales, &mins}) bytes->clear();
    d.clear();
    m.clear();
  }
};

void ReadNibbles(const uint8_t* qs, int half, Row& row) {
  for (int i = 0; i < half; ++i) row.codes.push_back(qs[i] & 15);
  for (int i = 0; i < half; ++i) row.codes.push_back(qs[i] >> 4);
}

void Read(const BlockQ4_0& b, Row& row) {
  ReadNibbles(b.qs, 16, row);
  row.d.push_back(b.d);
}

void Read(const BlockQ4_1& b, Row& row) {
  ReadNibbles(b.qs, 16, row);
  row.d.push_back(b.d);
  row.m.push_back(b.m);
}

// Adds the fifth bits to the nibbles of a block, and `zero` to make the code's zero.
void AddFifthBits(const uint8_t* qh, int zero, Row& row) {
  uint8_t* codes = row.codes.data() + row.codes.size() - 32;
  for (int i = 0; i < 32; ++i)
    codes[i] = static_cast<uint8_t>((codes[i] | (qh[i / 8] >> (i % 8) & 1) << 4) + zero);
}

// As Q8_0: the same scale, zero moved from 16 to 128.
void Read(const BlockQ5_0& b, Row& row) {
  ReadNibbles(b.qs, 16, row);
  AddFifthBits(b.qh, 128 - 16, row);
  row.d.push_back(b.d);
}

void Read(const BlockQ5_1& b, Row& row) {
  ReadNibbles(b.qs, 16, row);
  AddFifthBits(b.qh, 0, row);
  row.d.push_back(b.d);
  row.m.push_back(b.m);
}

void Read(const BlockQ8_0& b, Row& row) {
  for (int i = 0; i < 32; ++i) row.codes.push_back(static_cast<uint8_t>(b.qs[i] + 128));
  row.d.push_back(b.d);
}

void ReadScalesAndMins(const uint8_t* scales, Row& row) {
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = ScaleMinOf(scales, part);
    row.scales.push_back(s.scale);
    row.mins.push_back(s.min);
  }
}

void Read(const BlockQ4_K& b, Row& row) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, row);
  ReadScalesAndMins(b.scales, row);
  row.d.push_back(b.d);
  row.m.push_back(b.dmin);
}

void Read(const BlockQ5_K& b, Row& row) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, row);
  uint8_t* codes = row.codes.data() + row.codes.size() - 256;
  for (int i = 0; i < 256; ++i)
    codes[i] = static_cast<uint8_t>(codes[i] | (b.qh[i % 32] >> (i / 32) & 1) << 4);
  ReadScalesAndMins(b.scales, row);
  row.d.push_back(b.d);
  row.m.push_back(b.dmin);
}

void Read(const BlockQ6_K& b, Row& row) {
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, quarter = i % 128 / 32, column = i % 32;
    const int low = b.ql[run * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
    const int high = b.qh[run * 32 + column] >> (quarter * 2) & 3;
    row.codes.push_back(static_cast<uint8_t>(low | high << 4));
  }
  for (int8_t scale : b.scales) row.scales.push_back(static_cast<uint8_t>(scale));
  row.d.push_back(b.d);
}

// As Q6_K: codes -4..3 around 32, scales -32..31 as int8.
void Read(const BlockQ3_K& b, Row& row) {
  for (int i = 0; i < 256; ++i) {
    const int low = b.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    const int high = b.hmask[i % 32] >> (i / 32) & 1;
    row.codes.push_back(static_cast<uint8_t>(32 + low - (high ? 0 : 4)));
  }
  for (int part = 0; part < 16; ++part)
    row.scales.push_back(static_cast<uint8_t>(ScaleQ3K(b.scales, part) - 32));
  row.d.push_back(b.d);
}

template <typename Block>
void ReadBlocks(const uint8_t* file_row, int64_t blocks, Row& row) {
  for (int64_t i = 0; i < blocks; ++i, file_row += sizeof(Block)) {
    Block block;
    std::memcpy(&block, file_row, sizeof block);
    Read(block, row);
  }
}

void ReadRow(DType type, const uint8_t* file_row, int64_t columns, Row& row) {
  row.Clear();
  const int64_t blocks = columns / InfoOf(type).block_columns;
  switch (type) {
    case DType::kQ4_0:
      return ReadBlocks<BlockQ4_0>(file_row, blocks, row);
    case DType::kQ4_1:
      return ReadBlocks<BlockQ4_1>(file_row, blocks, row);
    case DType::kQ5_0:
      return ReadBlocks<BlockQ5_0>(file_row, blocks, row);
    case DType::kQ5_1:
      return ReadBlocks<BlockQ5_1>(file_row, blocks, row);
    case DType::kQ8_0:
      return ReadBlocks<BlockQ8_0>(file_row, blocks, row);
    case DType::kQ3_K:
      return ReadBlocks<BlockQ3_K>(file_row, blocks, row);
    case DType::kQ4_K:
      return ReadBlocks<BlockQ4_K>(file_row, blocks, row);
    case DType::kQ5_K:
      return ReadBlocks<BlockQ5_K>(file_row, blocks, row);
    case DType::kQ6_K:
      return ReadBlocks<BlockQ6_K>(file_row, blocks, row);
    default:
      ROPEWAY_CHECK(false);
  }
}

bool IsNibbles(PanelFormat format) {
  return format == kPanelQ4_0 || format == kPanelQ4_1 || format == kPanelQ4_K;
}

// Byte [group][row][column] of a run of groups.
int64_t At(int group, int r, int column) { return (group * kRows + r) * 4 + column; }

void WriteCodes(PanelFormat format, const uint8_t* codes, int r, uint8_t* out) {
  for (int group = 0; group < 8; ++group)
    for (int c = 0; c < 4; ++c) {
      const uint8_t code = codes[group * 4 + c];
      if (!IsNibbles(format) && format != kPanelQ6_K) {
        out[At(group, r, c)] = code;
        continue;
      }
      out[At(group / 2, r, c)] |= static_cast<uint8_t>((code & 15) << (group % 2 * 4));
      if (format == kPanelQ6_K)
        out[512 + At(group / 4, r, c)] |= static_cast<uint8_t>(code >> 4 << (group % 4 * 2));
    }
}

void WriteRow(PanelFormat format, const Row& row, int64_t columns, int r, uint8_t* panel) {
  const PlaneBytes planes = kPlaneBytes[format];
  const PanelLayout layout = PanelLayoutOf(format, columns);
  const bool integer_scales = planes.super != 0;
  for (int64_t b = 0; b < columns / kBlock; ++b) {
    WriteCodes(format, &row.codes[b * kBlock], r, panel + b * planes.code);
    uint8_t* side = panel + layout.side + b * planes.side;
    uint16_t* halves = reinterpret_cast<uint16_t*>(side);
    if (format == kPanelQ6_K) {
      side[r] = row.scales[2 * b];
      side[32 + r] = row.scales[2 * b + 1];
    } else if (integer_scales) {
      side[r] = row.scales[b];
      side[32 + r] = row.mins[b];
    } else {
      halves[r] = row.d[b];
      if (!row.m.empty()) halves[32 + r] = row.m[b];
    }
  }
  for (int64_t s = 0; integer_scales && s < columns / kSuperBlock; ++s) {
    auto* super = reinterpret_cast<uint16_t*>(panel + layout.super + s * planes.super);
    super[r] = row.d[s];
    if (!row.m.empty()) super[32 + r] = row.m[s];
  }
}

// Packs rows one after the other, keeping scratch space between them.
class RowPacker {
 public:
  explicit RowPacker(PackedMatrix& matrix) : matrix_(matrix) {}

  void Pack(DType type, const uint8_t* file_row, int64_t index) {
    const auto format = static_cast<PanelFormat>(matrix_.format);
    uint8_t* panel = matrix_.data.data() + index / kRows * matrix_.panel_bytes;
    const int r = static_cast<int>(index % kRows);
    if (format == kPanelF32) {
      floats_.resize(matrix_.columns);
      DequantizeRow(type, file_row, matrix_.columns, floats_.data());
      for (int64_t k = 0; k < matrix_.columns; ++k)
        reinterpret_cast<float*>(panel)[k * kRows + r] = floats_[k];
      return;
    }
    ReadRow(type, file_row, matrix_.columns, row_);
    WriteRow(format, row_, matrix_.columns, r, panel);
  }

 private:
  PackedMatrix& matrix_;
  Row row_;
  std::vector<float> floats_;
};

}  // namespace

PanelFormat PanelFormatOf(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return kPanelQ4_0;
    case DType::kQ4_1:
      return kPanelQ4_1;
    case DType::kQ5_0:
    case DType::kQ8_0:
      return kPanelQ8_0;
    case DType::kQ5_1:
      return kPanelQ8_1;
    case DType::kQ4_K:
      return kPanelQ4_K;
    case DType::kQ5_K:
      return kPanelQ8_K;
    case DType::kQ3_K:
    case DType::kQ6_K:
      return kPanelQ6_K;
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ2_K:  // a scale and a min per 16 columns: no integer panel holds that
      return kPanelF32;
  }
  return kPanelF32;
}

PanelLayout PanelLayoutOf(PanelFormat format, int64_t columns) {
  if (format == kPanelF32) return {0, 0, columns * kRows * static_cast<int64_t>(sizeof(float))};
  const PlaneBytes planes = kPlaneBytes[format];
  const int64_t side = columns / kBlock * planes.code;
  const int64_t super = side + columns / kBlock * planes.side;
  return {side, super, super + columns / kSuperBlock * planes.super};
}

PackedMatrix PackPanels(const PackRequest& request) {
  const TensorView& first = request.parts[0];
  const PanelFormat format = PanelFormatOf(first.type);
  PackedMatrix matrix{.type = first.type,
                      .activation = format == kPanelF32 ? ActivationKind::kFloat : ActivationKind::kInt8,
                      .format = format,
                      .interleaved = request.interleave,
                      .columns = first.columns()};
  for (const TensorView& part : request.parts) matrix.rows += part.rows();
  const int64_t padded = request.interleave ? (first.rows() + 15) / 16 * 32 : matrix.rows;
  matrix.panel_bytes = PanelLayoutOf(format, matrix.columns).bytes;
  matrix.num_panels = (padded + kRows - 1) / kRows;
  matrix.data = AlignedBuffer(matrix.num_panels * matrix.panel_bytes);

  RowPacker packer(matrix);
  int64_t next = 0;
  for (size_t part = 0; part < request.parts.size(); ++part) {
    const TensorView& view = request.parts[part];
    const int64_t row_bytes = RowBytes(view.type, view.columns());
    for (int64_t i = 0; i < view.rows(); ++i) {
      const int64_t index =
          request.interleave ? i / 16 * 32 + i % 16 + 16 * static_cast<int64_t>(part) : next++;
      packer.Pack(view.type, view.data + i * row_bytes, index);
    }
  }
  return matrix;
}

}  // namespace ropeway::kernels
