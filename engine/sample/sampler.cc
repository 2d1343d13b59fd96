#include "engine/sample/sampler.h"

#include <limits>
#include <optional>

#include "engine/base/check.h"
#include "engine/base/softmax_weight.h"

namespace ropeway {
namespace {

// Tokens whose weights are added up before the running sum is looked at.
constexpr size_t kBlock = 512;

}  // namespace

SampledToken Sampler::Sample(absl::Span<const float> logits, const SampleRow& row) {
  changes_.clear();
  lowering_.AppendChanges(row, changes_);
  SampledToken sampled = {.token = Choose(logits, SamplingLowering::RuleOf(row), changes_)};
  const int32_t top = row.params->num_logprobs;
  if (sampled.token != kNoToken && top >= 0) sampled.logprobs = ScoreToken(logits, sampled.token, top);
  return sampled;
}

TokenId Sampler::Choose(absl::Span<const float> logits, const SamplingRule& rule,
                        absl::Span<const LogitChange> changes) {
  if (!changes.empty()) {
    changed_.assign(logits.begin(), logits.end());
    for (const LogitChange& change : changes)
      changed_[change.token] = ChangedLogit(changed_[change.token], change, rule);
    logits = changed_;
  }
  const std::optional<Peak> peak = FindPeak(logits);
  if (!peak.has_value()) return kNoToken;
  return rule.scale > 0 ? Draw(logits, *peak, rule) : peak->id;
}

TokenId Sampler::Draw(absl::Span<const float> logits, const Peak& peak, const SamplingRule& rule) {
  if (!NarrowsByTopK(rule, static_cast<int64_t>(logits.size())) && !NarrowsByTopP(rule) &&
      !NarrowsByMinP(rule))
    return DrawFromAll(logits, peak.logit, rule);
  Narrow(logits, peak, rule);
  uint64_t left = DrawTarget(rule, candidates_.TotalWeight());
  for (const Candidate& candidate : candidates_.held()) {
    if (left < candidate.weight) return candidate.id;
    left -= candidate.weight;
  }
  ROPEWAY_CHECK(false);  // the target is below the sum
}

TokenId Sampler::DrawFromAll(absl::Span<const float> logits, float largest, const SamplingRule& rule) {
  block_sums_.clear();
  uint64_t sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    block_sums_.push_back(SumWeights(logits.subspan(begin, kBlock), largest, rule.scale));
    sum += block_sums_.back();
  }
  uint64_t left = DrawTarget(rule, sum);
  size_t block = 0;
  while (left >= block_sums_[block]) left -= block_sums_[block++];
  for (size_t id = block * kBlock;; ++id) {
    const uint64_t weight = SoftmaxWeight((logits[id] - largest) * rule.scale);
    if (left < weight) return static_cast<TokenId>(id);
    left -= weight;
  }
}

// Leaves in candidates_, weighed, what top_k, top_p and min_p leave of the vocabulary.
void Sampler::Narrow(absl::Span<const float> logits, const Peak& peak, const SamplingRule& rule) {
  const float least = LeastLogit(rule, peak.logit);
  if (NarrowsByTopK(rule, static_cast<int64_t>(logits.size()))) {
    candidates_.HoldTop(logits, peak, rule.top_k);
    candidates_.Weigh(peak.logit, rule.scale);
    if (NarrowsByTopP(rule)) candidates_.KeepMass(TopPMass(rule, candidates_.TotalWeight()));
    candidates_.KeepAbove(least);
  } else if (NarrowsByTopP(rule)) {
    const uint64_t mass = TopPMass(rule, SumWeights(logits, peak.logit, rule.scale));
    candidates_.HoldMass(logits, peak, rule.scale, mass);
    candidates_.KeepMass(mass);
    candidates_.KeepAbove(least);
  } else {
    candidates_.HoldAbove(logits, least);
    candidates_.Weigh(peak.logit, rule.scale);
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
