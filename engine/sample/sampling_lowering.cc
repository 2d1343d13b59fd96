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
                    .presence = params.presence_penalty,
                    .frequency = params.frequency_penalty,
                    .coin = CoinOf(params.seed, row.sample, row.step)};
  if (params.temperature > 0)
    rule.scale = std::min(1 / params.temperature, std::numeric_limits<float>::max());
  if (params.min_p > 0 && rule.scale > 0) rule.min_p_offset = ExactLog(params.min_p) / rule.scale;
  return rule;
}

bool SamplingLowering::DependsOnAnswer(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  return params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
}

void SamplingLowering::AppendChanges(const SampleRow& row, std::vector<LogitChange>& changes) {
  const SamplingParams& params = *row.params;
  first_ = changes.size();
  if (++row_ == 0) {  // all numbers of rows are used up
    places_.clear();
    row_ = 1;
  }
  for (const auto& [token, bias] : params.logit_bias) ChangeOf(token, changes).bias = bias;
  if (params.repetition_penalty != 1) {
    for (const TokenId token : row.prompt) ChangeOf(token, changes).seen = true;
  }
  if (DependsOnAnswer(row)) {
    for (const TokenId token : row.generated) {
      LogitChange& change = ChangeOf(token, changes);
      change = WithOccurrence(change);
    }
  }
  for (const TokenId token : row.masked) ChangeOf(token, changes).masked = true;
}

LogitChange& SamplingLowering::ChangeOf(TokenId token, std::vector<LogitChange>& changes) {
  if (static_cast<size_t>(token) >= places_.size())
    places_.resize(std::max<size_t>(token + 1, 2 * places_.size()));
  Place& place = places_[token];
  if (place.row != row_) {
    changes.push_back({.token = token});
    place = {.row = row_, .change = static_cast<int32_t>(changes.size() - first_ - 1)};
  }
  return changes[first_ + place.change];
}

}  // namespace ropeway
