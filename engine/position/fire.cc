#include "engine/position/fire.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "engine/position/portable_math.h"

namespace ropeway {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr double kLeak = 0.01;

double Psi(const FireWeights& weights, double x) { return Logarithm(std::fabs(weights.c * x) + 1); }

// The factor of a hidden unit whose input is `input`.
double Gate(FireActivation activation, double input) {
  if (input > 0) return 1;
  return activation == FireActivation::kRelu ? 0 : kLeak;
}

// Where hidden units change sign, for x > 0, and 0 itself.
std::vector<double> Knots(const FireWeights& weights) {
  std::vector<double> knots = {0};
  for (size_t unit = 0; unit < weights.in_weights.size(); ++unit) {
    const double knot = -double{weights.in_biases[unit]} / weights.in_weights[unit];
    if (std::isfinite(knot) && knot > 0) knots.push_back(knot);
  }
  std::sort(knots.begin(), knots.end());
  knots.erase(std::unique(knots.begin(), knots.end()), knots.end());
  return knots;
}

}  // namespace

std::vector<double> FireFunction(FireActivation activation, const FireWeights& weights, double x) {
  const size_t width = weights.in_weights.size();
  std::vector<double> out(weights.out_biases.begin(), weights.out_biases.end());
  for (size_t unit = 0; unit < width; ++unit) {
    const double input = weights.in_weights[unit] * x + weights.in_biases[unit],
                 hidden = Gate(activation, input) * input;
    for (size_t h = 0; h < out.size(); ++h) out[h] += weights.out_weights[h * width + unit] * hidden;
  }
  return out;
}

FirePieces FirePiecesOf(FireActivation activation, const FireWeights& weights) {
  const size_t width = weights.in_weights.size(), heads = weights.out_biases.size();
  FirePieces pieces{.knots = Knots(weights)};
  pieces.slopes.resize(pieces.knots.size() * heads);
  for (size_t s = 0; s < pieces.knots.size(); ++s) {
    const bool last = s + 1 == pieces.knots.size();
    const double inside = last ? pieces.knots[s] + 1 : (pieces.knots[s] + pieces.knots[s + 1]) / 2;
    pieces.intercepts.insert(pieces.intercepts.end(), weights.out_biases.begin(), weights.out_biases.end());
    double* slopes = &pieces.slopes[s * heads];
    double* intercepts = &pieces.intercepts[s * heads];
    for (size_t unit = 0; unit < width; ++unit) {
      const double w = weights.in_weights[unit], b = weights.in_biases[unit],
                   gate = Gate(activation, w * inside + b);
      for (size_t h = 0; h < heads; ++h) {
        slopes[h] += weights.out_weights[h * width + unit] * (gate * w);
        intercepts[h] += weights.out_weights[h * width + unit] * (gate * b);
      }
    }
  }
  return pieces;
}

std::vector<double> FireByDistance(const FireWeights& weights, int32_t num_distances) {
  std::vector<double> by_distance(num_distances);
  for (int32_t distance = 0; distance < num_distances; ++distance)
    by_distance[distance] = Psi(weights, distance);
  return by_distance;
}

std::vector<double> FireByPosition(const FireSpec& spec, const FireWeights& weights, int32_t num_positions) {
  const double threshold = std::fabs(weights.l_multiplier * spec.init_length);
  std::vector<double> by_position(num_positions);
  for (int32_t i = 0; i < num_positions; ++i)
    by_position[i] = 1 / (Psi(weights, std::max<double>(i, threshold)) + kEpsilon);
  return by_position;
}

}  // namespace ropeway
