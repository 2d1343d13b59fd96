#include "engine/kernels/distance_rows.h"

#include <algorithm>
#include <vector>

#include "engine/base/check.h"

namespace ropeway::kernels {

void LayOutDistances(absl::Span<const float> by_distance, absl::Span<float> row) {
  const auto count = static_cast<int32_t>(by_distance.size());
  ROPEWAY_CHECK(count > 0 && static_cast<int64_t>(row.size()) == DistanceRowSize(count));
  float* out = std::fill_n(row.data(), kDistanceMargin, by_distance.back());
  out = std::reverse_copy(by_distance.begin(), by_distance.end(), out);
  std::fill_n(out, kDistanceMargin, 0.f);
}

void LayOutVectors(absl::Span<const float> by_distance, int columns, absl::Span<float> rows) {
  const int64_t count = static_cast<int64_t>(by_distance.size()) / columns;
  const int64_t size = DistanceRowSize(static_cast<int32_t>(count));
  std::vector<float> column(count);
  for (int c = 0; c < columns; ++c) {
    for (int64_t i = 0; i < count; ++i) column[i] = by_distance[i * columns + c];
    LayOutDistances(column, rows.subspan(c * size, size));
  }
}

}  // namespace ropeway::kernels
