// From logits to a token.
#ifndef ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
#define ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_

#include <vector>

#include "absl/types/span.h"
#include "engine/api/event.h"
#include "engine/api/step.h"

namespace ropeway {

// Keeps scratch memory between calls; not thread-safe. What it answers depends on the arguments alone.
class Sampler {
 public:
  // The token that `row` asks for, by the order of operations that SamplingParams documents. `logits` is [V].
  SampledToken Sample(absl::Span<const float> logits, const SampleRow& row);

 private:
  std::vector<float> logits_;
};

// The log-probability of `token` under softmax(logits), and of the `top` likeliest tokens, lowest id first
// among equals.
TokenLogprobs ScoreToken(absl::Span<const float> logits, TokenId token, int32_t top);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
