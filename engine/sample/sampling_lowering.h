// From a user's SamplingParams to the plain numbers of engine/sample/sampling_rule.h, for every device.
#ifndef ROPEWAY_ENGINE_SAMPLE_SAMPLING_LOWERING_H_
#define ROPEWAY_ENGINE_SAMPLE_SAMPLING_LOWERING_H_

#include <cstdint>
#include <vector>

#include "engine/api/step.h"
#include "engine/sample/sampling_rule.h"

namespace ropeway {

// Keeps scratch memory between calls; not thread-safe. What it gives depends on the arguments alone.
class SamplingLowering {
 public:
  // How `row` draws its token.
  static SamplingRule RuleOf(const SampleRow& row);

  // Appends what `row` changes, one LogitChange per token, in the order in which tokens are first named. None
  // where nothing is changed. REQUIRES: tokens are not negative.
  void AppendChanges(const SampleRow& row, std::vector<LogitChange>& changes);

 private:
  // What is known of a token while a row is lowered.
  struct Place {
    int32_t change = -1;  // of the row's changes; -1: not named yet
    int32_t occurrences = 0;
  };

  Place& PlaceOf(TokenId token, std::vector<LogitChange>& changes);

  size_t first_ = 0;           // of the row's changes
  std::vector<Place> places_;  // by token; between calls all as made
};

// The 64 bits that decide token `step` of a sample.
uint64_t CoinOf(uint64_t seed, int32_t sample, int32_t step);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLING_LOWERING_H_
