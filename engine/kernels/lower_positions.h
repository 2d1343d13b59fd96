// From a layer's position scheme to what attention does about it: the mathematics of engine/position as
// tables of floats. For load time; both backends lower by this.
//
// What is added to the input, the rotation of queries and keys and the scale of queries are no part of it.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_KERNELS_LOWER_POSITIONS_H_
#define ROPEWAY_ENGINE_KERNELS_LOWER_POSITIONS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/kernels/modifier_tables.h"
#include "engine/position/dape.h"
#include "engine/position/fire.h"
#include "engine/position/position_spec.h"

namespace ropeway::kernels {

// The tensors of one layer's scheme as a checkpoint has them; empty where the scheme has none.
struct PositionWeights {
  absl::Span<const float> t5_table;                 // [num_buckets, H]
  absl::Span<const float> shaw_keys, shaw_values;   // [1 or H, 2 K + 1, E or Ev]
  absl::Span<const float> xl_projection;            // [H E, D]
  absl::Span<const float> xl_content, xl_position;  // [H, E]: u, v
  absl::Span<const float> kerple_r1, kerple_r2;     // [H]
  FireWeights fire;
  DapeWeights dape;
};

struct PositionShape {
  int num_heads = 0, head_dim = 0, value_dim = 0;
  int32_t num_positions = 0;  // of the longest sequence
  double scale = 1;           // of attention
};

// Window, chunk and everything of the scheme; soft-cap and sinks are left to the caller. REQUIRES: weights
// have the shapes that the scheme wants.
ModifierTables LowerPositions(const PositionSpec& spec, const PositionWeights& weights,
                              const PositionShape& shape);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_LOWER_POSITIONS_H_
