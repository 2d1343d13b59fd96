// Biases of scores that depend on the distance D = i - j >= 0 alone.
//
//   ALiBi (arXiv:2108.12409)     b_h = -m_h D. With n the largest power of two up to H and B = max_bias:
//                                m_h = 2^(-B (h + 1) / n) for h < n, 2^(-B (2 (h - n) + 1) / (2 n)) beyond.
//                                BLOOM adds m_h j and MPT -m_h (S - 1 - j) instead, which soft-max cannot
//                                tell apart; Falcon-RW multiplies the bias by the attention scale.
//   T5 (arXiv:1910.10683)        b_h = table[bucket(D)][h]
//   KERPLE (arXiv:2205.09921)    log: -r1_h ln(1 + r2_h D); power: -r1_h D^r2_h. r1 and r2 count as at least
//                                0.01, the exponent as at most 2.
//   Sandwich (arXiv:2212.10356)  (sum over k = 1 .. dim / 2 of cos(D 10000^(-2 k / dim)) - dim / 2)
//                                / (8 (h + 1) / H)
//
// Tables are [H, num_distances] by rising distance, computed in float64. Units: those of scaled scores.
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_DISTANCE_BIAS_H_
#define ROPEWAY_ENGINE_POSITION_DISTANCE_BIAS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/position/position_spec.h"

namespace ropeway {

// m_h > 0. [num_heads]
std::vector<float> AlibiSlopes(int num_heads, double max_bias);

// The bucket of a key at a query's distance D >= 0, of T5's decoder, with e = num_buckets / 2:
//   D where D < e, else min(num_buckets - 1, e + floor(ln(D / e) / ln(max_distance / e) * (num_buckets - e)))
// REQUIRES: max_distance > e >= 1
int32_t T5Bucket(int32_t distance, int32_t num_buckets, int32_t max_distance);

// The bucket of an encoder, relative = j - i: half of the buckets for each direction, those of keys to come
// last.
int32_t T5BucketOfBothSides(int32_t relative, int32_t num_buckets, int32_t max_distance);

// The distance from which on T5's bias stays the same.
int32_t T5LastDistance(const T5Spec& spec);

// table: [num_buckets, H]
std::vector<float> T5ByDistance(const T5Spec& spec, absl::Span<const float> table, int32_t num_distances);

// r1, r2: [H]
std::vector<float> KerpleByDistance(KerpleVariant variant, absl::Span<const float> r1,
                                    absl::Span<const float> r2, int32_t num_distances);

// The numerator, which all heads share [num_distances], and 1 / (8 (h + 1) / H) [H].
std::vector<float> SandwichByDistance(int32_t dim, int32_t num_distances);
std::vector<float> SandwichFactors(int num_heads);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_DISTANCE_BIAS_H_
