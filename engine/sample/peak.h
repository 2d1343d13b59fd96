// The likeliest token of a row of logits, and the weight of all tokens beside it
// (engine/base/softmax_weight.h).
#ifndef ROPEWAY_ENGINE_SAMPLE_PEAK_H_
#define ROPEWAY_ENGINE_SAMPLE_PEAK_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "engine/api/token.h"

namespace ropeway {

// The likeliest token, of the lowest id among equals.
struct Peak {
  float logit = 0;
  TokenId id = 0;
};

// None where a logit is NaN or +infinity, or where none is above -infinity: such logits say nothing.
std::optional<Peak> FindPeak(absl::Span<const float> logits);

// SoftmaxWeight((logit - largest) * scale) of all logits, added up; scale is 1 / temperature.
uint64_t SumWeights(absl::Span<const float> logits, float largest, float scale);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_PEAK_H_
