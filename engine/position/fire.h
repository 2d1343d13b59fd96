// FIRE (Li et al., arXiv:2310.04418): a bias by a small multilayer perceptron of one number.
//
//   b_h(i, j) = f_h(psi(i - j) / (psi(max(i, L)) + 10^-6)),  psi(x) = ln(|c x| + 1),  L = |multiplier * init|
//   f(x) = W2 act(W1 x + b1) + b2,  act: ReLU, or leaky ReLU (0.01 x below 0) as inside DAPE
// i is the query's own position, counted from 0. b(i, i) = f(0), which is not 0.
//
// Since f is piecewise linear, it is exactly a table of at most width + 1 segments: with x in [knots_s,
// knots_s+1), f_h(x) = slope_s,h x + intercept_s,h. psi(D) is a table over distances, and the divisor one
// number for each position of a query.
//
// Pure; thread-safe; float64 throughout. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_FIRE_H_
#define ROPEWAY_ENGINE_POSITION_FIRE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/position/position_spec.h"

namespace ropeway {

struct FireWeights {
  absl::Span<const float> in_weights;   // [width], W1
  absl::Span<const float> in_biases;    // [width], b1
  absl::Span<const float> out_weights;  // [H, width], W2
  absl::Span<const float> out_biases;   // [H], b2
  double c = 0;
  double l_multiplier = 0;
};

// f of the perceptron, as it is written. [H]
std::vector<double> FireFunction(FireActivation activation, const FireWeights& weights, double x);

// f of x >= 0 by its segments.
struct FirePieces {
  std::vector<double> knots;       // [S], rising, the first 0
  std::vector<double> slopes;      // [S, H]
  std::vector<double> intercepts;  // [S, H]
};
FirePieces FirePiecesOf(FireActivation activation, const FireWeights& weights);

// psi(D) for D = 0 .. num_distances - 1.
std::vector<double> FireByDistance(const FireWeights& weights, int32_t num_distances);

// 1 / (psi(max(i, L)) + 10^-6) for i = 0 .. num_positions - 1.
std::vector<double> FireByPosition(const FireSpec& spec, const FireWeights& weights, int32_t num_positions);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_FIRE_H_
