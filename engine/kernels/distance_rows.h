// Lays out tables over distances as score_modifier.h wants them. For load time.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_KERNELS_DISTANCE_ROWS_H_
#define ROPEWAY_ENGINE_KERNELS_DISTANCE_ROWS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/kernels/score_modifier.h"

namespace ropeway::kernels {

// Floats of one row over so many distances.
constexpr int64_t DistanceRowSize(int32_t num_distances) {
  return int64_t{num_distances} + 2 * kDistanceMargin;
}

// Writes the row of `by_distance`, which begins with distance 0. REQUIRES: by_distance is not empty; `row`
// has DistanceRowSize of its size.
void LayOutDistances(absl::Span<const float> by_distance, absl::Span<float> row);

// Writes the columns of vectors [num_distances, columns], which begin with distance 0, as `columns` rows.
void LayOutVectors(absl::Span<const float> by_distance, int columns, absl::Span<float> rows);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_DISTANCE_ROWS_H_
