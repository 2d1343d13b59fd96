// The tokens of a vocabulary that a draw is narrowed down to.
//
// Tokens are ordered by their logits, the lowest id first among equals: a total order, so that every
// selection below is one certain set whatever algorithm finds it. Nothing sorts the vocabulary: all
// selections take time linear in its size, and mostly only one look at each logit. Keeps its memory between
// uses; not thread-safe.
#ifndef ROPEWAY_ENGINE_SAMPLE_CANDIDATES_H_
#define ROPEWAY_ENGINE_SAMPLE_CANDIDATES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/token.h"
#include "engine/sample/peak.h"

namespace ropeway {

struct Candidate {
  float logit = 0;
  TokenId id = 0;
  uint64_t weight = 0;  // once they are weighed
};

class Candidates {
 public:
  // Each of these replaces what was held. They hold their tokens by ascending id, not weighed yet.

  // The tokens whose logits are at least `least`.
  void HoldAbove(absl::Span<const float> logits, float least);
  // The `count` likeliest tokens, or all where there are fewer. REQUIRES: `peak` is that of `logits`.
  void HoldTop(absl::Span<const float> logits, const Peak& peak, size_t count);
  // At least those likeliest tokens that have `mass` together, weighed by `scale`.
  void HoldMass(absl::Span<const float> logits, const Peak& peak, float scale, uint64_t mass);

  void Weigh(float largest, float scale);

  // Drops all but the smallest set of likeliest tokens that has `mass`, or all where they have less together.
  // REQUIRES: they are weighed.
  void KeepMass(uint64_t mass);
  void KeepAbove(float least);  // drops tokens whose logits are below

  uint64_t TotalWeight() const;
  absl::Span<const Candidate> held() const { return held_; }

  // The held tokens, likeliest first.
  std::vector<Candidate> Sorted() const;

 private:
  void KeepTop(size_t count);
  void KeepUpTo(const Candidate& last);

  std::vector<Candidate> held_;
  std::vector<Candidate> shuffled_;  // a copy for selections
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_CANDIDATES_H_
