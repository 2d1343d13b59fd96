#include "engine/sample/sampling_lowering.h"

#include <algorithm>
#include <limits>

#include "engine/base/softmax_weight.h"
#include "engine/base/splitmix.h"

namespace ropeway {

uint64_t CoinOf(uint64_t seed, int32_t sample, int32_t step) {
  return RandomBits(seed + static_cast<uint64_t>(sample) * kGoldenRatio64, static_cast<uint64_t>(step));
}

SamplingRule SamplingLowering::RuleOf(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  SamplingRule rule{.scale = 0,
                    .top_k = params.top_k,
                    .top_p = params.top_p,
                    .repetition = params.repetition_penalty,
                    .coin = CoinOf(params.seed, row.sample, row.step)};
  if (params.temperature > 0)
    rule.scale = std::min(1 / params.temperature, std::numeric_limits<float>::max());
  if (params.min_p > 0 && rule.scale > 0) rule.min_p_offset = ExactLog(params.min_p) / rule.scale;
  return rule;
}

void SamplingLowering::AppendChanges(const SampleRow& row, std::vector<LogitChange>& changes) {
  const SamplingParams& params = *row.params;
  const bool repetition = params.repetition_penalty != 1;
  const bool occurrences = params.presence_penalty != 0 || params.frequency_penalty != 0;
  first_ = changes.size();
  if (++row_ == 0) {  // all numbers of rows are used up
    places_.clear();
    row_ = 1;
  }
  const auto change_of = [&](TokenId token) -> LogitChange& {
    return changes[first_ + PlaceOf(token, changes).change];
  };
  for (const auto& [token, bias] : params.logit_bias) change_of(token).bias = bias;
  if (repetition) {
    for (const TokenId token : row.prompt) change_of(token).seen = true;
    for (const TokenId token : row.generated) change_of(token).seen = true;
  }
  if (occurrences) {
    for (const TokenId token : row.generated) ++PlaceOf(token, changes).occurrences;
  }
  for (const TokenId token : row.masked) change_of(token).masked = true;
  for (size_t i = first_; i < changes.size(); ++i) {
    const int32_t occurred = places_[changes[i].token].occurrences;
    if (occurred > 0)
      changes[i].penalty = params.presence_penalty + params.frequency_penalty * static_cast<float>(occurred);
  }
}

SamplingLowering::Place& SamplingLowering::PlaceOf(TokenId token, std::vector<LogitChange>& changes) {
  if (static_cast<size_t>(token) >= places_.size())
    places_.resize(std::max<size_t>(token + 1, 2 * places_.size()));
  Place& place = places_[token];
  if (place.row != row_) {
    changes.push_back({.token = token});
    place = {.row = row_, .change = static_cast<int32_t>(changes.size() - first_ - 1)};
  }
  return place;
}

}  // namespace ropeway
