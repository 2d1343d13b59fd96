#include "engine/kernels/modifier_tables.h"

#include <algorithm>
#include <utility>

#include "engine/kernels/distance_rows.h"

namespace ropeway::kernels {

const float* ModifierTables::Keep(std::vector<float> floats) {
  kept_.push_back(std::make_unique<std::vector<float>>(std::move(floats)));
  return kept_.back()->data();
}

DistanceRows ModifierTables::KeepDistances(absl::Span<const float> table, int32_t num_distances) {
  const int64_t rows = static_cast<int64_t>(table.size()) / num_distances,
                size = DistanceRowSize(num_distances);
  std::vector<float> laid(rows * size);
  for (int64_t r = 0; r < rows; ++r)
    LayOutDistances(table.subspan(r * num_distances, num_distances),
                    absl::MakeSpan(laid).subspan(r * size, size));
  return {.data = Keep(std::move(laid)), .num_distances = num_distances, .head_stride = rows == 1 ? 0 : size};
}

DistanceRows ModifierTables::KeepVectors(absl::Span<const float> tables, int32_t num_distances, int columns) {
  const int64_t one = int64_t{num_distances} * columns, count = static_cast<int64_t>(tables.size()) / one;
  const int64_t size = DistanceRowSize(num_distances) * columns;
  std::vector<float> laid(count * size);
  for (int64_t t = 0; t < count; ++t)
    LayOutVectors(tables.subspan(t * one, one), columns, absl::MakeSpan(laid).subspan(t * size, size));
  return {
      .data = Keep(std::move(laid)), .num_distances = num_distances, .head_stride = count == 1 ? 0 : size};
}

RelativeValues ModifierTables::KeepValues(absl::Span<const float> tables, int32_t num_distances,
                                          int columns) {
  const int64_t padded = (columns + 15) / 16 * 16, vectors = static_cast<int64_t>(tables.size()) / columns;
  std::vector<float> laid(vectors * padded);
  for (int64_t v = 0; v < vectors; ++v) std::copy_n(&tables[v * columns], columns, &laid[v * padded]);
  return {.data = Keep(std::move(laid)),
          .num_distances = num_distances,
          .head_stride = vectors == num_distances ? 0 : num_distances * padded};
}

ScoreModifier ModifierTables::Moved(const Move& move) const {
  ScoreModifier moved = modifier;
  FireSegments& fire = moved.bias.fire;
  HeadMixer& mixer = moved.mixer;
  for (const float** pointer : {&moved.sinks, &moved.bias.slopes, &moved.bias.table.data, &moved.bias.factors,
                                &fire.normalisers, &fire.knots, &fire.slopes, &fire.intercepts,
                                &moved.relative_keys.rows.data, &moved.relative_keys.content_offsets,
                                &moved.relative_keys.position_offsets, &moved.relative_values.data,
                                &mixer.in_weights, &mixer.in_biases, &mixer.out_weights, &mixer.out_biases})
    for (const auto& floats : kept_)
      if (*pointer == floats->data()) {
        *pointer = move(*pointer, static_cast<int64_t>(floats->size()));
        break;
      }
  return moved;
}

int64_t ModifierTables::bytes() const {
  int64_t bytes = 0;
  for (const auto& floats : kept_) bytes += static_cast<int64_t>(floats->size() * sizeof(float));
  return bytes;
}

}  // namespace ropeway::kernels
