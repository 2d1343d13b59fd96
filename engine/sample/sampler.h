// From logits to a token.
//
// The same arguments give the same token on every machine and device; engine/base/softmax_weight.h says how.
// In the order of SamplingParams, with x the logit of a token in float32:
//
//   x += bias;   x = x > 0 ? x / repetition : x * repetition   (once, for tokens of prompt and answer)
//   x -= presence + frequency * occurrences                    (for tokens of the answer);   masked: x = -inf
//   temperature 0: the largest x, the lowest id among equals.  Otherwise, with scale = 1 / temperature,
//   top_k: the first k tokens by (x descending, id ascending)
//   top_p: of these the fewest first ones whose weights reach ceil(top_p * the sum of these weights)
//   min_p: of these the ones with x >= largest + log(min_p) / scale
//   coin:  64 random bits c; by ascending id the first token at which the running sum of weights exceeds
//          floor(c * sum / 2^64)
#ifndef ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
#define ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/event.h"
#include "engine/api/step.h"
#include "engine/sample/candidates.h"
#include "engine/sample/peak.h"

namespace ropeway {

// Keeps scratch memory between calls; not thread-safe. What it answers depends on the arguments alone.
class Sampler {
 public:
  // The token that `row` asks for. kNoToken where the logits say nothing: one is NaN or +infinity, or all
  // are -infinity. `logits` is [V].
  SampledToken Sample(absl::Span<const float> logits, const SampleRow& row);

 private:
  absl::Span<const float> Adjust(absl::Span<const float> logits, const SampleRow& row);
  void Penalize(const SampleRow& row);
  TokenId Draw(absl::Span<const float> logits, const Peak& peak, const SampleRow& row);
  TokenId DrawFromAll(absl::Span<const float> logits, float largest, float scale, uint64_t coin);
  void Narrow(absl::Span<const float> logits, const Peak& peak, float scale, const SamplingParams& params);

  std::vector<float> adjusted_;       // [V]
  std::vector<int32_t> occurrences_;  // [V]; between calls all 0; else 1 + how often the answer has the token
  std::vector<TokenId> seen_;         // the tokens whose occurrences_ are not 0
  std::vector<uint64_t> block_sums_;
  Candidates candidates_;
};

// The 64 bits that decide token `step` of a sample.
uint64_t CoinOf(uint64_t seed, int32_t sample, int32_t step);

// The log-probability of `token` under softmax(logits), and of the `top` likeliest tokens, lowest id first
// among equals. Where the logits say nothing: NaN, and no others.
TokenLogprobs ScoreToken(absl::Span<const float> logits, TokenId token, int32_t top);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLER_H_
