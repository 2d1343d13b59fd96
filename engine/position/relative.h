// Relative embeddings: vectors that depend on the distance D = i - j between a query and a key.
//
//   Shaw et al. (arXiv:1803.02155, equations 3 to 5), with c = clip(j - i, -K, K) + K:
//     score = q_i . (k_j + a^K_c),  output = sum_j p_ij (v_j + a^V_c)
//   Transformer-XL (arXiv:1901.02860, section 3.3), with R_D the sinusoidal vector of D (concat, base 10000):
//     score = (q_i + u) . k_j + (q_i + v) . (W_R R_D)
//
// What is made here is the vector that a causal query adds for each distance, by rising distance. Shaw's
// tables hold keys to come too, in their rows above K, which causal attention never reads.
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_RELATIVE_H_
#define ROPEWAY_ENGINE_POSITION_RELATIVE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ropeway {

// The row of Shaw's tables for a key at `key` and a query at `query`: clip(key - query, -K, K) + K.
int32_t ShawRow(int64_t query, int64_t key, int32_t clip);

// Rows 0 .. K of each table by rising distance 0 .. K; distances beyond K are as K.
// table: [tables, 2 K + 1, columns]; result: [tables, K + 1, columns]
std::vector<float> ShawByDistance(absl::Span<const float> table, int32_t clip, int32_t columns);

// W_R R_D for D = 0 .. num_distances - 1, accumulated in float64.
// projection: [outputs, width], W_R; result: [num_distances, outputs]. REQUIRES: width even
std::vector<float> TransformerXlByDistance(absl::Span<const float> projection, int32_t width,
                                           int32_t num_distances);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_RELATIVE_H_
