#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/base/check.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_matmul.h"
#include "tests/cuda_emulation/host_ops.h"

namespace ropeway::cuda::emulation {
namespace {

// Columns [32 unit, 32 unit + 32) of a row of a packed matrix.
void UnpackUnit(const DeviceMatrix& matrix, int64_t row, int64_t unit, float* out) {
  const PackedLayout layout = LayoutOf(matrix.type, matrix.rows, matrix.columns);
  const auto* data = static_cast<const uint8_t*>(matrix.data);
  const int64_t i = row * RowUnits(matrix.columns) + unit;
  const UnitBytes bytes = UnitBytesOf(matrix.type);
  // Bytes of the part of column c, of so many for the unit.
  const auto part = [&](int64_t plane, int unit_bytes, int c, int units = 1) {
    const int64_t group = i / kGroupUnits, in_group = i % kGroupUnits / units * units;
    const int64_t part_bytes = unit_bytes / kUnitParts;
    return data + plane + group * kGroupUnits * unit_bytes +
           (c / 2 % 4 * kGroupUnits + in_group) * part_bytes;
  };
  const auto code_of = [](int c) { return c / 8 * 2 + c % 2; };  // of the part
  const auto half = [&](int64_t at) {
    uint16_t bits;
    std::memcpy(&bits, data + at, sizeof bits);
    return HalfToFloat(bits);
  };
  const auto nibble = [&](int c) {
    return part(layout.codes, bytes.codes, c)[code_of(c) / 2] >> (code_of(c) % 2 * 4) & 15;
  };
  const auto bit = [&](int c, int at) { return part(layout.codes, bytes.codes, c)[at / 8] >> (at % 8) & 1; };
  for (int c = 0; c < kUnitColumns; ++c) {
    switch (matrix.type) {
      case DType::kQ4_0:
        out[c] = half(layout.scales + i * 2) * static_cast<float>(nibble(c) - 8);
        break;
      case DType::kMXFP4: {
        uint16_t scale;
        std::memcpy(&scale, data + layout.scales + i * 2, sizeof scale);
        const int8_t* values = kQuantTables[static_cast<int>(QuantTable::kE2m1)];
        const int code = code_of(c), sign = bit(c, code < 4 ? 8 * code + 7 : 8 * (code - 4) + 3);
        out[c] = BFloat16ToFloat(scale) * static_cast<float>(values[(nibble(c) & 7) | sign << 3]);
        break;
      }
      case DType::kQ4_1:
        out[c] =
            half(layout.scales + i * 4) * static_cast<float>(nibble(c)) + half(layout.scales + i * 4 + 2);
        break;
      case DType::kQ8_0:
        out[c] = half(layout.scales + i * 2) *
                 static_cast<float>(part(layout.codes, bytes.codes, c)[code_of(c)] - 128);
        break;
      case DType::kQ4_K: {
        const uint8_t* scale_min = data + layout.scales + i * 2;
        const int64_t block = layout.blocks + i / kBlockUnits * 4;
        out[c] = half(block) * scale_min[0] * static_cast<float>(nibble(c)) - half(block + 2) * scale_min[1];
        break;
      }
      case DType::kQ6_K: {
        const int code = code_of(c), at = 4 * (code % 2) + code % 4 / 2 * 2;
        const int high = part(layout.high, bytes.high, c, 2)[code / 4 * 2 + i % 2] >> at & 3;
        const auto scale = static_cast<int8_t>(data[layout.scales + i * 2 + c / 16]);
        out[c] = half(layout.blocks + i / kBlockUnits * 2) * static_cast<float>(scale) *
                 static_cast<float>((nibble(c) | high << 4) - 32);
        break;
      }
      default:
        ROPEWAY_CHECK(false);
    }
  }
}

}  // namespace

std::vector<float> RowOf(const DeviceMatrix& matrix, int64_t row) {
  std::vector<float> values(matrix.columns);
  if (IsPacked(matrix.type)) {
    for (int64_t unit = 0; unit < matrix.columns / kUnitColumns; ++unit)
      UnpackUnit(matrix, row, unit, &values[unit * kUnitColumns]);
    return values;
  }
  const Element element = matrix.type == DType::kF32   ? Element::kF32
                          : matrix.type == DType::kF16 ? Element::kF16
                                                       : Element::kBF16;
  for (int64_t c = 0; c < matrix.columns; ++c)
    values[c] = LoadElement(element, matrix.data, row * matrix.columns + c);
  return values;
}

float Dot(const float* a, const float* b, int64_t n) {
  float sums[8] = {};
  for (int64_t i = 0; i < n; i += 8)
    for (int64_t lane = 0; lane < std::min<int64_t>(8, n - i); ++lane)
      sums[lane] += a[i + lane] * b[i + lane];
  float sum = 0;
  for (const float part : sums) sum += part;
  return sum;
}

void EmbedOnHost(const EmbedArgs& args) {
  for (int t = 0; t < args.num_tokens; ++t) {
    const std::vector<float> row = RowOf(args.table, args.token_ids == nullptr ? t : args.token_ids[t]);
    float* out = args.residual + t * row.size();
    for (size_t c = 0; c < row.size(); ++c) out[c] = args.scale * row[c];
    if (args.position_rows == nullptr) continue;
    const float* added = args.position_rows + int64_t{std::max(args.positions[t], 0)} * row.size();
    for (size_t c = 0; c < row.size(); ++c) out[c] += added[c];
  }
}

std::vector<float> RoundedRowOf(const DeviceMatrix& matrix, int64_t row, Element element) {
  std::vector<float> values = RowOf(matrix, row);
  for (float& value : values) {
    uint8_t bytes[sizeof(float)];
    StoreElement(element, bytes, 0, value);
    value = LoadElement(element, bytes, 0);
  }
  return values;
}

void UnpackOnHost(const UnpackArgs& args) {
  const int64_t columns = args.weights.columns;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const std::vector<float> values = RowOf(args.weights, args.first_row + row);
    for (int64_t c = 0; c < columns; ++c) StoreElement(args.element, args.out, row * columns + c, values[c]);
  }
}

void MatMulOnHost(const MatMulArgs& args) {
  MultiplyOnHost({.tokens = args.num_tokens,
                  .outputs = args.weights.rows,
                  .columns = args.weights.columns,
                  .element = args.element,
                  .x = args.x,
                  .weight_row = [&](int64_t m) { return RoundedRowOf(args.weights, m, args.element); },
                  .store = [&](int64_t t, int64_t m,
                               float sum) { StoreElement(args.out, args.y, t * args.y_stride + m, sum); }});
}

}  // namespace ropeway::cuda::emulation
