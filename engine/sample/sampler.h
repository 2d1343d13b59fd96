// From logits to a token, by the semantics of engine/sample/sampling_rule.h.
//
// The same arguments give the same token on every machine and device.
#ifndef ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
#define ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/event.h"
#include "engine/api/step.h"
#include "engine/sample/candidates.h"
#include "engine/sample/peak.h"
#include "engine/sample/sampling_lowering.h"
#include "engine/sample/sampling_rule.h"

namespace ropeway {

// Keeps scratch memory between calls; not thread-safe. What it answers depends on the arguments alone.
class Sampler {
 public:
  // The token that `row` asks for, and its log-probability where it asks for that, too. kNoToken alone where
  // the logits say nothing. `logits` is [V].
  SampledToken Sample(absl::Span<const float> logits, const SampleRow& row);

  // The token alone, of a row that is lowered. The tokens of `changes` are distinct.
  TokenId Choose(absl::Span<const float> logits, const SamplingRule& rule,
                 absl::Span<const LogitChange> changes);

 private:
  TokenId Draw(absl::Span<const float> logits, const Peak& peak, const SamplingRule& rule);
  TokenId DrawFromAll(absl::Span<const float> logits, float largest, const SamplingRule& rule);
  void Narrow(absl::Span<const float> logits, const Peak& peak, const SamplingRule& rule);

  SamplingLowering lowering_;
  std::vector<LogitChange> changes_;  // of the row
  std::vector<float> changed_;        // [V]
  std::vector<uint64_t> block_sums_;
  Candidates candidates_;
};

// The log-probability of `token` under softmax(logits), and of the `top` likeliest tokens, lowest id first
// among equals. Where the logits say nothing: NaN, and no others.
TokenLogprobs ScoreToken(absl::Span<const float> logits, TokenId token, int32_t top);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
