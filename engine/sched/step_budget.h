// How the tokens of a step are shared between the prompts that are computed side by side.
#ifndef ROPEWAY_ENGINE_SCHED_STEP_BUDGET_H_
#define ROPEWAY_ENGINE_SCHED_STEP_BUDGET_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ropeway {

// Chunk sizes for prompts that lack `remaining` tokens each (at least 1), oldest first: every prompt gets at
// most half of what those before it left (the last one all of it), rounded up; what then is over goes to the
// oldest that can use it. The sum is the smaller one of `budget` and the sum of `remaining`.
std::vector<int32_t> SharePrefillBudget(absl::Span<const int32_t> remaining, int32_t budget);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_STEP_BUDGET_H_
