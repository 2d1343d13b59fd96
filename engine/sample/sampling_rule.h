// The semantics of sampling as plain numbers and functions, the same for every device: the CPU's sampler,
// the CUDA kernels and their emulation compile these lines, and none has others.
//
// A row of logits x, in float32, is first changed token by token:
//   masked: x = -infinity, whatever it was.   Else NaN and the infinities stay what they are.   A finite x:
//   x += bias;   x = x > 0 ? x / repetition : x * repetition   (tokens of prompt and answer)
//   x -= presence + frequency * occurrences                    (tokens of the answer)
//   and stays finite: what is beyond the largest float of either sign becomes that float.
// If then one x is NaN or +infinity, or all are -infinity, the logits say nothing: no token is chosen. Else,
// by temperature 0: the largest x, the lowest id among equals. Else, with scale = 1 / temperature and weights
// SoftmaxWeight((x - largest) * scale), which are integers (engine/base/softmax_weight.h):
//   top_k: the first k tokens by (x descending, id ascending)
//   top_p: of these the fewest first ones whose weights reach ceil(top_p * the sum of these weights)
//   min_p: of these the ones with x >= largest + log(min_p) / scale
//   coin:  64 random bits c; by ascending id the first token at which the running sum of weights exceeds
//          floor(c * sum / 2^64)
// Log-probabilities are those of the logits before any change.
//
// Every operation is rounded by itself: compiled with -ffp-contract=off, and -fmad=false under nvcc.
#ifndef ROPEWAY_ENGINE_SAMPLE_SAMPLING_RULE_H_
#define ROPEWAY_ENGINE_SAMPLE_SAMPLING_RULE_H_

#include <cstdint>
#include <limits>

namespace ropeway {

// How a token is drawn from logits, once they are changed.
struct SamplingRule {
  float scale = 1;                    // 1 / temperature, at most the largest float; 0: greedy
  int32_t top_k = 0;                  // 0: all
  float top_p = 1;                    // 1: all
  float repetition = 1;               // of LogitChange::seen
  float presence = 0, frequency = 0;  // of LogitChange::occurrences
  double min_p_offset = -std::numeric_limits<double>::infinity();  // log(min_p) / scale
  uint64_t coin = 0;
};

// What happens to one logit of a row.
struct LogitChange {
  int32_t token = 0;
  float bias = 0;
  int32_t occurrences = 0;  // among the tokens of the answer
  bool seen = false;        // repetition applies
  bool masked = false;      // never chosen
};

// With one occurrence more, of the answer's last token.
constexpr LogitChange WithOccurrence(LogitChange change) {
  ++change.occurrences;
  change.seen = true;
  return change;
}

constexpr float ChangedLogit(float x, const LogitChange& change, const SamplingRule& rule) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (change.masked) return -std::numeric_limits<float>::infinity();
  if (!(x >= -kLargest && x <= kLargest)) return x;
  x += change.bias;
  if (change.seen) x = x > 0 ? x / rule.repetition : x * rule.repetition;
  if (change.occurrences > 0) x -= rule.presence + rule.frequency * static_cast<float>(change.occurrences);
  return x > kLargest ? kLargest : x < -kLargest ? -kLargest : x;
}

constexpr bool NarrowsByTopK(const SamplingRule& rule, int64_t vocab_size) {
  return rule.top_k > 0 && rule.top_k < vocab_size;
}
constexpr bool NarrowsByTopP(const SamplingRule& rule) { return rule.top_p < 1; }
constexpr bool NarrowsByMinP(const SamplingRule& rule) {
  return rule.min_p_offset > -std::numeric_limits<double>::infinity();
}

// ceil(top_p * sum): what top_p keeps of weights that are `sum` together.
constexpr uint64_t TopPMass(const SamplingRule& rule, uint64_t sum) {
  const double mass = static_cast<double>(rule.top_p) * static_cast<double>(sum);
  const uint64_t whole = static_cast<uint64_t>(mass);
  return static_cast<double>(whole) < mass ? whole + 1 : whole;
}

// The least logit that min_p keeps; -infinity where it keeps all.
constexpr float LeastLogit(const SamplingRule& rule, float largest) {
  return static_cast<float>(static_cast<double>(largest) + rule.min_p_offset);
}

// floor(coin * sum / 2^64), below `sum`.
constexpr uint64_t DrawTarget(const SamplingRule& rule, uint64_t sum) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(rule.coin) * sum) >> 64);
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLING_RULE_H_
