#include "engine/kernels/cuda/fp8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/tensor/dequantize.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/fp8.h"

namespace ropeway::cuda {

float QuantizeFp8Row(const float* values, int64_t columns, uint8_t* codes) {
  float most = 0;
  for (int64_t column = 0; column < columns; ++column) most = std::fmax(most, std::fabs(values[column]));
  // Of a row of zeros, too, a number that may be divided by.
  const float scale = std::fmax(most / kLargestFp8, std::numeric_limits<float>::min());
  const int64_t bytes = Fp8RowBytes(columns);
  for (int64_t first = 0; first < bytes; first += kFp8StepColumns) {
    for (int place = 0; place < kFp8StepColumns; ++place) {
      const int64_t column = first + Fp8ColumnAt(place);
      codes[first + place] = column < columns ? FloatToFp8(values[column] / scale) : uint8_t{0};
    }
  }
  return scale;
}

void PackFp8Rows(const TensorView& view, int64_t total_rows, int64_t first_row, uint8_t* out) {
  const int64_t columns = view.columns(), file_bytes = RowBytes(view.type, columns);
  const Fp8Layout layout = Fp8LayoutOf(total_rows, columns);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t i = 0; i < view.rows(); ++i) {
    DequantizeRow(view.type, view.data + i * file_bytes, columns, row.data());
    uint8_t* const codes = out + layout.codes + (first_row + i) * Fp8RowBytes(columns);
    const float scale = QuantizeFp8Row(row.data(), columns, codes);
    std::memcpy(out + layout.scales + (first_row + i) * static_cast<int64_t>(sizeof scale), &scale,
                sizeof scale);
  }
}

}  // namespace ropeway::cuda
