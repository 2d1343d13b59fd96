#include "engine/position/relative.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/position/position_spec.h"
#include "engine/position/sinusoidal.h"

namespace ropeway {

int32_t ShawRow(int64_t query, int64_t key, int32_t clip) {
  return static_cast<int32_t>(std::clamp<int64_t>(key - query, -clip, clip)) + clip;
}

std::vector<float> ShawByDistance(absl::Span<const float> table, int32_t clip, int32_t columns) {
  const int64_t table_size = (2 * int64_t{clip} + 1) * columns;
  ROPEWAY_DCHECK(table.size() % table_size == 0);
  std::vector<float> by_distance;
  by_distance.reserve(table.size() / table_size * (int64_t{clip} + 1) * columns);
  for (int64_t first = 0; first < static_cast<int64_t>(table.size()); first += table_size) {
    for (int32_t distance = 0; distance <= clip; ++distance) {
      const float* row = &table[first + int64_t{ShawRow(distance, 0, clip)} * columns];
      by_distance.insert(by_distance.end(), row, row + columns);
    }
  }
  return by_distance;
}

std::vector<float> TransformerXlByDistance(absl::Span<const float> projection, int32_t width,
                                           int32_t num_distances) {
  const SinusoidalSpec spec{.layout = SinusoidalLayout::kConcat};
  const std::vector<double> frequencies = SinusoidalFrequencies(spec, width);
  const int64_t outputs = static_cast<int64_t>(projection.size()) / width;
  std::vector<float> by_distance(num_distances * outputs), vector(width);
  for (int32_t distance = 0; distance < num_distances; ++distance) {
    SinusoidalVector(spec, frequencies, distance, vector.data());
    for (int64_t output = 0; output < outputs; ++output) {
      const float* row = &projection[output * width];
      double sum = 0;
      for (int32_t column = 0; column < width; ++column) sum += double{row[column]} * vector[column];
      by_distance[distance * outputs + output] = static_cast<float>(sum);
    }
  }
  return by_distance;
}

}  // namespace ropeway
