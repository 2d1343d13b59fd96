#include "engine/sched/step_budget.h"

#include <algorithm>

namespace ropeway {

std::vector<int32_t> SharePrefillBudget(absl::Span<const int32_t> remaining, int32_t budget) {
  std::vector<int32_t> chunks(remaining.size());
  for (size_t i = 0; i < remaining.size(); ++i) {
    const bool last = i + 1 == remaining.size();
    chunks[i] = std::min(remaining[i], last ? budget : (budget + 1) / 2);
    budget -= chunks[i];
  }
  for (size_t i = 0; i < remaining.size(); ++i) {
    const int32_t more = std::min(remaining[i] - chunks[i], budget);
    chunks[i] += more;
    budget -= more;
  }
  return chunks;
}

}  // namespace ropeway
