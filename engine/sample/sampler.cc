#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/base/splitmix.h"

namespace ropeway {
namespace {

TokenId ArgMax(absl::Span<const float> logits) {
  TokenId best = 0;
  for (size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best]) best = static_cast<TokenId>(i);
  return best;
}

}  // namespace

SampledToken Sampler::Sample(absl::Span<const float> logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  logits_.assign(logits.begin(), logits.end());
  for (TokenId masked : row.masked) logits_[masked] = -INFINITY;
  SampledToken sampled{.token = ArgMax(logits_)};
  if (params.temperature > 0) {
    const float largest = logits_[sampled.token];
    double sum = 0;
    for (float& x : logits_) sum += x = std::exp((x - largest) / params.temperature);
    double left = UnitInterval(params.seed + static_cast<uint64_t>(row.sample) * kGoldenRatio64,
                               static_cast<uint64_t>(row.step)) *
                  sum;
    for (size_t i = 0; i < logits_.size(); ++i) {
      left -= logits_[i];
      if (left < 0) {
        sampled.token = static_cast<TokenId>(i);
        break;
      }
    }
  }
  if (params.num_logprobs >= 0) sampled.logprobs = ScoreToken(logits, sampled.token, params.num_logprobs);
  return sampled;
}

TokenLogprobs ScoreToken(absl::Span<const float> logits, TokenId token, int32_t top) {
  const float largest = logits[ArgMax(logits)];
  double sum = 0;
  for (float x : logits) sum += std::exp(static_cast<double>(x) - largest);
  const double normaliser = largest + std::log(sum);
  const auto logprob = [&](TokenId id) { return static_cast<float>(logits[id] - normaliser); };
  TokenLogprobs result{.chosen = logprob(token)};
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto count = std::min<size_t>(top, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [&](TokenId a, TokenId b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (size_t i = 0; i < count; ++i) result.top.emplace_back(ids[i], logprob(ids[i]));
  return result;
}

}  // namespace ropeway
