#include "engine/sched/step_cost_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/api/step.h"

namespace ropeway {
namespace {

// What a step weighs after the next one: fifty steps are remembered.
constexpr double kMemory = 0.98;
// How fast the mean error follows, and how much larger than it one may be before it counts less.
constexpr double kErrorRate = 0.05;
constexpr double kUsualErrors = 3;
constexpr double kSmallestError = 0.02;
// How firmly costs stay where they are, against the weight of the steps that speak for a change: enough to decide
// where steps cannot tell terms apart, as a batch that never changes cannot tell rows from steps.
constexpr double kFirmness = 0.01;
// What no step had lately is held with the weight it had; that itself fades over some ten thousand steps.
constexpr double kAnchorMemory = 0.9999;
constexpr int kSweeps = 8;
// How many more tokens of prompts the next step may have than any before.
constexpr int32_t kGrowth = 2;

}  // namespace

void StepWork::AddPrompt(int32_t begin, int32_t count, int32_t scored) {
  amounts[static_cast<int>(CostTerm::kPromptToken)] += count;
  const double mean_position = begin + 0.5 * (count - 1);
  amounts[static_cast<int>(CostTerm::kPromptPage)] += count * mean_position / kPageTokens;
  amounts[static_cast<int>(CostTerm::kScoredToken)] += scored;
}

void StepWork::AddDecode(int32_t position) {
  amounts[static_cast<int>(CostTerm::kDecodeRow)] += 1;
  amounts[static_cast<int>(CostTerm::kContextPage)] += static_cast<double>(position) / kPageTokens;
}

absl::Duration StepCostModel::Predict(const StepWork& work) const {
  double milliseconds = 0;
  for (int i = 0; i < kCostTerms; ++i) milliseconds += costs_[i] * work.amounts[i];
  return absl::Milliseconds(milliseconds);
}

void StepCostModel::Learn(const StepWork& work, absl::Duration duration) {
  const double actual = absl::ToDoubleMilliseconds(duration);
  if (!(actual > 0) || !std::isfinite(actual)) return;
  const double predicted = absl::ToDoubleMilliseconds(Predict(work));
  const double scale = std::max(actual, predicted);
  const double error = (actual - predicted) / scale;
  const double usual = kUsualErrors * std::max(error_, kSmallestError);
  // A step that was faster than expected tells the truth.
  const double weight = error > usual ? usual / error : 1;
  for (int i = 0; i < kCostTerms; ++i) {
    const double scaled = weight * work.amounts[i] / scale / scale;
    for (int j = 0; j < kCostTerms; ++j) squares_[i][j] = kMemory * squares_[i][j] + scaled * work.amounts[j];
    products_[i] = kMemory * products_[i] + scaled * actual;
    anchors_[i] = std::max(kAnchorMemory * anchors_[i], squares_[i][i]);
  }
  error_ += kErrorRate * (std::min(std::abs(error), 2 * usual) - error_);
  ++num_steps_;
  const double tokens = work.of(CostTerm::kPromptToken);
  if (kGrowth * tokens > max_prompt_tokens_)
    max_prompt_tokens_ =
        static_cast<int32_t>(std::min<double>(kGrowth * tokens, std::numeric_limits<int32_t>::max()));
  Fit();
}

// Costs of at least 0 that make the sum of squares smallest, held to where they are: coordinate by coordinate, a
// few rounds for each step. What is left to do, the next steps do.
void StepCostModel::Fit() {
  const Terms before = costs_;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (int i = 0; i < kCostTerms; ++i) {
      const double hold = kFirmness * anchors_[i];
      const double curvature = squares_[i][i] + hold;
      if (curvature <= 0) continue;
      double slope = products_[i] + hold * before[i];
      for (int j = 0; j < kCostTerms; ++j)
        if (j != i) slope -= squares_[i][j] * costs_[j];
      costs_[i] = std::max(0.0, slope / curvature);
    }
  }
}

}  // namespace ropeway
