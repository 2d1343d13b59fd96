// What a step wants of its tokens' logits, by token: one row of logits serves all that is wanted of it.
#ifndef ROPEWAY_ENGINE_SAMPLE_LOGIT_REQUESTS_H_
#define ROPEWAY_ENGINE_SAMPLE_LOGIT_REQUESTS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/step.h"

namespace ropeway {

// A token to choose, or the score of a given one.
struct LogitRequest {
  int32_t token_index = 0;  // of the step: whose logits are asked
  bool is_sample = false;
  int32_t index = 0;     // of StepPlan::sample_rows, or of score_rows
  int32_t position = 0;  // of a score row's next_tokens
};

struct LogitRequests {
  std::vector<LogitRequest> all;       // by ascending token; of one token as the plan has them, samples first
  std::vector<int32_t> token_indices;  // whose logits are wanted, each once, ascending
  std::vector<int32_t> firsts;         // [token_indices + 1] of `all`

  // Of token_indices[i].
  absl::Span<const LogitRequest> Of(size_t i) const {
    return absl::MakeConstSpan(all).subspan(firsts[i], firsts[i + 1] - firsts[i]);
  }
};

// Replaces `requests` by those of `plan`, and keeps its memory.
void CollectLogitRequests(const StepPlan& plan, LogitRequests& requests);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SAMPLE_LOGIT_REQUESTS_H_
