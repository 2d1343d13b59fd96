#include "engine/sample/logit_requests.h"

#include <algorithm>

namespace ropeway {

void CollectLogitRequests(const StepPlan& plan, LogitRequests& requests) {
  std::vector<LogitRequest>& all = requests.all;
  all.clear();
  for (size_t i = 0; i < plan.sample_rows.size(); ++i) {
    all.push_back({.token_index = plan.row_starts[plan.sample_rows[i].row + 1] - 1,
                   .is_sample = true,
                   .index = static_cast<int32_t>(i)});
  }
  for (size_t i = 0; i < plan.score_rows.size(); ++i) {
    const ScoreRow& row = plan.score_rows[i];
    for (int32_t position = 0; position < static_cast<int32_t>(row.next_tokens.size()); ++position) {
      all.push_back({.token_index = plan.row_starts[row.row] + position,
                     .index = static_cast<int32_t>(i),
                     .position = position});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const LogitRequest& a, const LogitRequest& b) {
    return a.token_index < b.token_index;
  });
  requests.token_indices.clear();
  requests.firsts.clear();
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && all[i].token_index == all[i - 1].token_index) continue;
    requests.token_indices.push_back(all[i].token_index);
    requests.firsts.push_back(static_cast<int32_t>(i));
  }
  requests.firsts.push_back(static_cast<int32_t>(all.size()));
}

}  // namespace ropeway
