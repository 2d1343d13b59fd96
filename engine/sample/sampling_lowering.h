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

  // Whether what `row` changes depends on the tokens generated so far.
  static bool DependsOnAnswer(const SampleRow& row);

  // Appends what `row` changes, one LogitChange per token, in the order in which tokens are first named. None
  // where nothing is changed. REQUIRES: tokens are not negative.
  void AppendChanges(const SampleRow& row, std::vector<LogitChange>& changes);

 private:
  // What is known of a token while a row is lowered. What was known for another row is of no matter, so that
  // nothing has to be cleared, not even where memory was missing in between.
  struct Place {
    uint32_t row = 0;    // that named it last
    int32_t change = 0;  // of the row's changes
  };

  LogitChange& ChangeOf(TokenId token, std::vector<LogitChange>& changes);

  uint32_t row_ = 0;           // that is lowered, counted from 1
  size_t first_ = 0;           // of the row's changes
  std::vector<Place> places_;  // by token
};

// The 64 bits that decide token `step` of a sample.
uint64_t CoinOf(uint64_t seed, int32_t sample, int32_t step);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_SAMPLING_LOWERING_H_
