#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/softmax_weight.h"
#include "engine/base/splitmix.h"

namespace ropeway {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

// Tokens whose weights are added up before the running sum is looked at.
constexpr size_t kBlock = 512;

bool NeedsAdjusting(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  return !params.logit_bias.empty() || !row.masked.empty() || params.repetition_penalty != 1 ||
         params.presence_penalty != 0 || params.frequency_penalty != 0;
}

bool NarrowsBy(int32_t top_k, size_t vocabulary) {
  return top_k > 0 && static_cast<size_t>(top_k) < vocabulary;
}

// floor(coin * sum / 2^64), below `sum`.
uint64_t Target(uint64_t coin, uint64_t sum) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(coin) * sum) >> 64);
}

uint64_t PartOf(uint64_t sum, float part) {
  return static_cast<uint64_t>(std::ceil(static_cast<double>(part) * static_cast<double>(sum)));
}

}  // namespace

uint64_t CoinOf(uint64_t seed, int32_t sample, int32_t step) {
  return RandomBits(seed + static_cast<uint64_t>(sample) * kGoldenRatio64, static_cast<uint64_t>(step));
}

SampledToken Sampler::Sample(absl::Span<const float> logits, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  const absl::Span<const float> adjusted = NeedsAdjusting(row) ? Adjust(logits, row) : logits;
  const std::optional<Peak> peak = FindPeak(adjusted);
  if (!peak.has_value()) return {.token = kNoToken};
  SampledToken sampled = {.token = params.temperature > 0 ? Draw(adjusted, *peak, row) : peak->id};
  if (params.num_logprobs >= 0) sampled.logprobs = ScoreToken(logits, sampled.token, params.num_logprobs);
  return sampled;
}

absl::Span<const float> Sampler::Adjust(absl::Span<const float> logits, const SampleRow& row) {
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : row.params->logit_bias) adjusted_[id] += bias;
  Penalize(row);
  for (const TokenId id : row.masked) adjusted_[id] = -kInfinity;
  return adjusted_;
}

void Sampler::Penalize(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  const float repetition = params.repetition_penalty;
  occurrences_.resize(adjusted_.size());
  const auto see = [&](TokenId id, int32_t times) {
    if (occurrences_[id] == 0) {
      occurrences_[id] = 1;
      seen_.push_back(id);
    }
    occurrences_[id] += times;
  };
  if (repetition != 1) {
    for (const TokenId id : row.prompt) see(id, 0);
  }
  for (const TokenId id : row.generated) see(id, 1);
  for (const TokenId id : seen_) {
    float& x = adjusted_[id];
    // A tiny penalty must not make a logit infinite; NaN stays NaN.
    x = x > 0 ? std::min(x / repetition, kLargest) : x * repetition;
    const int32_t times = std::exchange(occurrences_[id], 0) - 1;
    if (times > 0) x -= params.presence_penalty + params.frequency_penalty * static_cast<float>(times);
  }
  seen_.clear();
}

TokenId Sampler::Draw(absl::Span<const float> logits, const Peak& peak, const SampleRow& row) {
  const SamplingParams& params = *row.params;
  const float scale = std::min(1 / params.temperature, kLargest);
  const uint64_t coin = CoinOf(params.seed, row.sample, row.step);
  if (!NarrowsBy(params.top_k, logits.size()) && params.top_p >= 1 && params.min_p <= 0) {
    return DrawFromAll(logits, peak.logit, scale, coin);
  }
  Narrow(logits, peak, scale, params);
  uint64_t left = Target(coin, candidates_.TotalWeight());
  for (const Candidate& candidate : candidates_.held()) {
    if (left < candidate.weight) return candidate.id;
    left -= candidate.weight;
  }
  ROPEWAY_CHECK(false);  // the target is below the sum
}

TokenId Sampler::DrawFromAll(absl::Span<const float> logits, float largest, float scale, uint64_t coin) {
  block_sums_.clear();
  uint64_t sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    block_sums_.push_back(SumWeights(logits.subspan(begin, kBlock), largest, scale));
    sum += block_sums_.back();
  }
  uint64_t left = Target(coin, sum);
  size_t block = 0;
  while (left >= block_sums_[block]) left -= block_sums_[block++];
  for (size_t id = block * kBlock;; ++id) {
    const uint64_t weight = SoftmaxWeight((logits[id] - largest) * scale);
    if (left < weight) return static_cast<TokenId>(id);
    left -= weight;
  }
}

// Leaves in candidates_, weighed, what top_k, top_p and min_p leave of the vocabulary.
void Sampler::Narrow(absl::Span<const float> logits, const Peak& peak, float scale,
                     const SamplingParams& params) {
  const float least =
      params.min_p > 0 ? static_cast<float>(peak.logit + ExactLog(params.min_p) / scale) : -kInfinity;
  if (NarrowsBy(params.top_k, logits.size())) {
    candidates_.HoldTop(logits, peak, params.top_k);
    candidates_.Weigh(peak.logit, scale);
    if (params.top_p < 1) candidates_.KeepMass(PartOf(candidates_.TotalWeight(), params.top_p));
    candidates_.KeepAbove(least);
  } else if (params.top_p < 1) {
    const uint64_t mass = PartOf(SumWeights(logits, peak.logit, scale), params.top_p);
    candidates_.HoldMass(logits, peak, scale, mass);
    candidates_.KeepMass(mass);
    candidates_.KeepAbove(least);
  } else {
    candidates_.HoldAbove(logits, least);
    candidates_.Weigh(peak.logit, scale);
  }
}

TokenLogprobs ScoreToken(absl::Span<const float> logits, TokenId token, int32_t top) {
  const std::optional<Peak> peak = FindPeak(logits);
  if (!peak.has_value()) return {.chosen = std::numeric_limits<float>::quiet_NaN()};
  const double normaliser = LogNormaliser(peak->logit, SumWeights(logits, peak->logit, 1));
  const auto logprob = [&](float logit) { return static_cast<float>(logit - normaliser); };
  TokenLogprobs result = {.chosen = logprob(logits[token])};
  if (top <= 0) return result;
  Candidates candidates;
  candidates.HoldTop(logits, *peak, top);
  for (const Candidate& candidate : candidates.Sorted()) {
    result.top.emplace_back(candidate.id, logprob(candidate.logit));
  }
  return result;
}

}  // namespace ropeway
