// How long a step takes, learnt from the steps that were run.
//
//   time of a step ~ sum over terms of (cost of the term) x (how much of it the step has)
//
// Costs are never negative. They are fitted to the last fifty steps or so, by least squares of relative errors, so
// that steps of milliseconds and of seconds count alike; what no recent step had keeps the cost it was last seen
// with. A step that took much longer than was expected counts little, since a thread that lost its processor looks
// so; where that goes on, it is the machine that changed, and it counts.
//
// The first costs are those of a slow machine, and nobody is advised to take many more tokens of prompts in a step
// than were ever taken: small steps are bound by memory and say little about large ones.
//
// Pure and deterministic; not thread-safe.
#ifndef ROPEWAY_ENGINE_SCHED_STEP_COST_MODEL_H_
#define ROPEWAY_ENGINE_SCHED_STEP_COST_MODEL_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ropeway {

// What a step costs time for.
enum class CostTerm {
  kStep,         // each step, whatever it computes
  kPromptToken,  // each token of a prompt
  kPromptPage,   // each page of context before each token of a prompt
  kScoredToken,  // each token of a prompt whose logits are wanted
  kDecodeRow,    // each row of one token
  kContextPage,  // each page of context of such a row
};
inline constexpr int kCostTerms = 6;
inline constexpr std::array<absl::string_view, kCostTerms> kCostTermNames = {
    "step", "prompt_token", "prompt_page", "scored_token", "decode_row", "context_page"};

// How much of each a step has.
struct StepWork {
  // `count` tokens of a prompt from position `begin` on, of which `scored` ones want logits.
  void AddPrompt(int32_t begin, int32_t count, int32_t scored);
  // A row of one token at `position`.
  void AddDecode(int32_t position);

  double of(CostTerm term) const { return amounts[static_cast<int>(term)]; }

  std::array<double, kCostTerms> amounts = {1};
};

class StepCostModel {
 public:
  // Of no effect where `duration` is not positive or not finite.
  void Learn(const StepWork& work, absl::Duration duration);

  absl::Duration Predict(const StepWork& work) const;

  // Tokens of prompts that a step may have, as far as is known how that goes.
  int32_t max_prompt_tokens() const { return max_prompt_tokens_; }

  absl::Duration cost(CostTerm term) const { return absl::Milliseconds(costs_[static_cast<int>(term)]); }
  // How far predictions were off lately: the mean of |actual - predicted| / the larger of both. Range: [0, 1].
  double error() const { return error_; }
  int64_t num_steps() const { return num_steps_; }  // learnt from

 private:
  using Terms = std::array<double, kCostTerms>;
  void Fit();

  Terms costs_ = {1, 3, 0.01, 3, 3, 0.01};  // milliseconds
  // Of the weighted squares of relative errors, as far as they are remembered: half their matrix of second
  // derivatives, and what it is to give when multiplied by the costs.
  std::array<Terms, kCostTerms> squares_ = {};
  Terms products_ = {};
  Terms anchors_ = {};  // how much of each term there once was, in the units of the diagonal of squares_
  double error_ = 0.25;
  int32_t max_prompt_tokens_ = 32;
  int64_t num_steps_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_STEP_COST_MODEL_H_
