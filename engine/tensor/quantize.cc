#include "engine/tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/tensor/half.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway {
namespace {

constexpr int kColumns = 32;

int8_t CodeOf(float scaled) {
  const float code = std::round(scaled);
  if (!(std::fabs(code) <= 127)) return 0;
  return static_cast<int8_t>(code);
}

}  // namespace

void QuantizeRowQ8_0(const float* values, int64_t columns, uint8_t* out) {
  for (int64_t first = 0; first < columns; first += kColumns) {
    float largest = 0;
    for (int i = 0; i < kColumns; ++i) largest = std::max(largest, std::fabs(values[first + i]));
    const float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
    BlockQ8_0 block{.d = FloatToHalf(scale), .qs = {}};
    for (int i = 0; i < kColumns; ++i) block.qs[i] = CodeOf(values[first + i] * inverse);
    std::memcpy(out, &block, sizeof block);
    out += sizeof block;
  }
}

}  // namespace ropeway
