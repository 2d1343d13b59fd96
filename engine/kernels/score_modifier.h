// How attention changes scores and values: what position schemes ask of the kernels. Plain structs without
// functions, as in args.h. Every kernel set takes the same ones, with pointers into memory of its own.
//
// For a query at position i of query head h and a key of its sequence at position j <= i, D = i - j:
//   score = (q + u_h) . k_j + (q + v_h) . r_h(D)                   relative_keys; q by the key's zone
//   score = scale * score                                          scale of AttentionArgs
//   score = softcap * tanh(score / softcap)                        softcap
//   score = score + b_h(i, D)                                      bias
//   score = score + MLP(scores, biases of all heads at (i, j))_h   mixer
//   p_j   = e^score / (e^sink_h + sum e^score)                     over visible keys: window, chunk; sinks
//   out   = sum p_j (v_j + w_h(D))                                 relative_values
// The order is that of the position schemes' specification. Nothing takes memory for pairs (i, j).
#ifndef ROPEWAY_ENGINE_KERNELS_SCORE_MODIFIER_H_
#define ROPEWAY_ENGINE_KERNELS_SCORE_MODIFIER_H_

#include <cstdint>

namespace ropeway::kernels {

// Copies of the farthest distance before a row over distances, and zeros behind it.
inline constexpr int kDistanceMargin = 16;

// Rows over distances. Keys go up while distances fall, so a row begins with the farthest:
//   row: { kDistanceMargin times the number of num_distances - 1, those of num_distances - 1, ..., 1, 0,
//          kDistanceMargin zeros }
// Vectors of keys may thus be loaded from any place of it. LayOutDistances (distance_rows.h) writes one.
struct DistanceRows {
  const float* data = nullptr;
  int32_t num_distances = 0;  // a key farther away counts as num_distances - 1 away
  int64_t head_stride = 0;    // floats from the rows of one query head to the next; 0: heads share them
};

enum class BiasKind : uint8_t {
  kNone,
  kSlope,     // b = -slope_h D: ALiBi
  kDistance,  // b = factor_h table_h(D): T5, KERPLE, Sandwich
  kFire,      // b = a_h,s x + c_h,s for x = table(D) normaliser(i) in the segment s of x: FIRE
};

// FIRE's function of one number, exact: it is linear between knots.
struct FireSegments {
  const float* normalisers = nullptr;  // [positions]: 1 / (psi(max(i, L)) + epsilon)
  const float* knots = nullptr;        // [num_segments], rising; segment s is knots[s] <= x < knots[s + 1]
  const float* slopes = nullptr;       // [H, num_segments]: a
  const float* intercepts = nullptr;   // [H, num_segments]: c
  int32_t num_segments = 0;            // the first has all x below knots[1]
};

struct ScoreBias {
  BiasKind kind = BiasKind::kNone;
  const float* slopes = nullptr;   // [H], of kSlope
  DistanceRows table;              // one row a head, of kDistance; one row for all, psi(D), of kFire
  const float* factors = nullptr;  // [H], of kDistance; null: 1
  FireSegments fire;
};

// r_h(D), and what is added to queries: Shaw's keys (clipped distances), Transformer-XL (all distances).
struct RelativeKeys {
  DistanceRows rows;                        // E rows a head, one for each column; data null: none
  const float* content_offsets = nullptr;   // [H, E]: u; null: zero
  const float* position_offsets = nullptr;  // [H, E]: v; null: zero
};

// w_h(D): Shaw's values. Not laid out as DistanceRows.
struct RelativeValues {
  const float* data = nullptr;  // [num_distances, padded Ev] a head, by rising distance; null: none
  int32_t num_distances = 0;    // a key farther away counts as num_distances - 1 away
  int64_t head_stride = 0;      // in floats; 0: heads share them
};

// DAPE: two layers with a leaky ReLU (0.01 x below 0) between them, over all heads at one (i, j).
struct HeadMixer {
  int32_t width = 0;                   // of the layer between; 0: no mixer
  bool takes_biases = false;           // inputs are the H scores and then the H biases; else the scores
  const float* in_weights = nullptr;   // [width, inputs]
  const float* in_biases = nullptr;    // [width]
  const float* out_weights = nullptr;  // [H, width]
  const float* out_biases = nullptr;   // [H]
};

struct ScoreModifier {
  float softcap = 0;   // 0: none
  int32_t window = 0;  // a query sees the last `window` positions, its own included; 0: all
  int32_t chunk = 0;   // a query sees keys j with j / chunk = i / chunk; 0: all. Not with a window
  // Chunked 3D-RPE: positions fall into zones of so many. Keys of the query's own zone are multiplied by
  // `queries` of AttentionArgs, those of the zone before by `previous_queries`, older ones by
  // `older_queries`. 0: all by `queries`.
  int32_t zone = 0;
  const float* sinks = nullptr;  // [H]: logits that take weight and have no value; null: none
  ScoreBias bias;
  RelativeKeys relative_keys;
  RelativeValues relative_values;
  HeadMixer mixer;
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_SCORE_MODIFIER_H_
