#include "engine/position/dape.h"

#include <cstddef>

namespace ropeway {

bool DapeTakesBiases(const DapeBase& base) {
  return !std::holds_alternative<NopeSpec>(base) && !std::holds_alternative<RopeSpec>(base);
}

std::vector<double> DapeScores(const DapeWeights& weights, absl::Span<const double> scores,
                               absl::Span<const double> biases) {
  constexpr double kLeak = 0.01;
  const size_t width = weights.in_biases.size(), heads = scores.size(), inputs = heads + biases.size();
  std::vector<double> mixed(weights.out_biases.begin(), weights.out_biases.end());
  for (size_t unit = 0; unit < width; ++unit) {
    double hidden = weights.in_biases[unit];
    for (size_t i = 0; i < inputs; ++i)
      hidden += weights.in_weights[unit * inputs + i] * (i < heads ? scores[i] : biases[i - heads]);
    if (hidden < 0) hidden *= kLeak;
    for (size_t h = 0; h < heads; ++h) mixed[h] += weights.out_weights[h * width + unit] * hidden;
  }
  for (size_t h = 0; h < heads; ++h) mixed[h] += scores[h] + (biases.empty() ? 0 : biases[h]);
  return mixed;
}

}  // namespace ropeway
