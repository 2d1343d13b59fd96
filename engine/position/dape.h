// DAPE, first version (Zheng et al., arXiv:2405.14722; called CAPE before): scores of all heads at one place
// are mixed by a small multilayer perceptron.
//
//   s'_h = s_h + b_h + (W2 leaky(W1 [s_1 .. s_H ; b_1 .. b_H] + c1) + c2)_h     leaky(x) = x > 0 ? x : 0.01 x
// s: scaled scores of all query heads before the mask; b: the static bias of the base (ALiBi, KERPLE, FIRE).
// Over rotary positions and none there is no b, and W1 takes the scores alone.
//
// Pure; thread-safe; float64.
#ifndef ROPEWAY_ENGINE_POSITION_DAPE_H_
#define ROPEWAY_ENGINE_POSITION_DAPE_H_

#include <vector>

#include "absl/types/span.h"
#include "engine/position/position_spec.h"

namespace ropeway {

struct DapeWeights {
  absl::Span<const float> in_weights;   // [width, inputs], W1; inputs: 2 H with a static bias, else H
  absl::Span<const float> in_biases;    // [width], c1
  absl::Span<const float> out_weights;  // [H, width], W2
  absl::Span<const float> out_biases;   // [H], c2
};

// Whether the base has a static bias, which W1 then takes beside the scores.
bool DapeTakesBiases(const DapeBase& base);

// s' of all heads at one place. scores: [H]; biases: [H], or empty
std::vector<double> DapeScores(const DapeWeights& weights, absl::Span<const double> scores,
                               absl::Span<const double> biases);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_DAPE_H_
