#include "engine/model/expert_routing.h"

#include <algorithm>
#include <array>

#include "engine/position/portable_math.h"

namespace ropeway {
namespace {

// Of all experts of a layer.
using Numbers = std::array<double, kMaxExperts>;
using Flags = std::array<bool, kMaxExperts>;

double Sigmoid(double z) { return 1 / (1 + Exponential(-z)); }

void FindScores(RouterScore kind, absl::Span<const float> z, Numbers& scores) {
  const size_t count = z.size();
  if (kind == RouterScore::kSigmoid) {
    for (size_t i = 0; i < count; ++i) scores[i] = Sigmoid(z[i]);
    return;
  }
  if (kind == RouterScore::kSoftmaxChosen) {
    std::copy(z.begin(), z.end(), scores.begin());
    return;
  }
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += scores[i] = Exponential(z[i] - most);
  for (size_t i = 0; i < count; ++i) scores[i] /= sum;
}

// The best of those that may be chosen, which then may not any more. REQUIRES: there is one.
int32_t TakeBest(const Numbers& goodness, Flags& may, int32_t first, int32_t last) {
  int32_t best = -1;
  for (int32_t i = first; i < last; ++i)
    if (may[i] && (best < 0 || goodness[i] > goodness[best])) best = i;
  may[best] = false;
  return best;
}

// Leaves experts of the best groups alone.
void KeepBestGroups(const ExpertsSpec& spec, const Numbers& goodness, Flags& may) {
  if (spec.chosen_groups == spec.groups) return;
  const int32_t each = spec.count / spec.groups;
  Numbers of_group;
  Flags group_may;
  for (int32_t g = 0; g < spec.groups; ++g) {
    Flags left = may;
    of_group[g] = 0;
    for (int32_t n = 0; n < spec.group_best; ++n)
      of_group[g] += goodness[TakeBest(goodness, left, g * each, (g + 1) * each)];
    group_may[g] = true;
  }
  std::fill_n(may.begin(), spec.count, false);
  for (int32_t n = 0; n < spec.chosen_groups; ++n)
    std::fill_n(may.begin() + TakeBest(of_group, group_may, 0, spec.groups) * each, each, true);
}

// Of the chosen ones, from their scores.
void FindWeights(const ExpertsSpec& spec, const Numbers& scores, absl::Span<ExpertChoice> chosen) {
  std::array<double, kMaxExpertsPerToken> weights;
  const double best = scores[chosen[0].expert];
  double sum = 0;
  for (size_t r = 0; r < chosen.size(); ++r) {
    const double score = scores[chosen[r].expert];
    weights[r] = spec.score == RouterScore::kSoftmaxChosen ? Exponential(score - best) : score;
    sum += weights[r];
  }
  const bool divided = spec.normalised || spec.score == RouterScore::kSoftmaxChosen;
  const double divisor = divided ? std::max<double>(sum, spec.least_sum) : 1;
  for (size_t r = 0; r < chosen.size(); ++r)
    chosen[r].weight = static_cast<float>(weights[r] / divisor * spec.scale);
}

}  // namespace

void RouteToken(const ExpertsSpec& spec, absl::Span<const float> z, absl::Span<const float> correction,
                absl::Span<ExpertChoice> chosen) {
  Numbers scores;
  FindScores(spec.score, z, scores);
  // Products have the order of their scores, also where those are rounded to the same number.
  Numbers goodness = scores;
  if (correction.empty() && spec.chosen_groups == spec.groups)
    std::copy(z.begin(), z.end(), goodness.begin());
  for (size_t i = 0; i < correction.size(); ++i) goodness[i] += correction[i];
  Flags may;
  std::fill_n(may.begin(), spec.count, true);
  KeepBestGroups(spec, goodness, may);
  for (ExpertChoice& choice : chosen) choice.expert = TakeBest(goodness, may, 0, spec.count);
  FindWeights(spec, scores, chosen);
}

float SharedExpertWeight(float z) { return static_cast<float>(Sigmoid(z)); }

}  // namespace ropeway
