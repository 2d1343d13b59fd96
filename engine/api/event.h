// What the engine tells the outside about a request: tokens, then exactly one end.
#ifndef ROPEWAY_ENGINE_API_EVENT_H_
#define ROPEWAY_ENGINE_API_EVENT_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/api/request.h"
#include "engine/api/token.h"

namespace ropeway {

// Natural log-probabilities under softmax(logits) before any sampling parameter.
struct TokenLogprobs {
  float chosen = 0;
  std::vector<std::pair<TokenId, float>> top;  // likeliest first
};

enum class FinishReason {
  kStop,       // an end token or stop id
  kLength,     // max_tokens or the context
  kCancelled,  // by the client, or its stream was lost
  kDeadline,   // expired
  kError,      // the engine failed; `error` tells
};

// Its name in metrics and logs.
inline absl::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      break;
  }
  return "error";
}

// Where a request's time and work went.
struct Receipt {
  absl::Duration queue;           // arrival to first scheduling
  absl::Duration prefill;         // first scheduling to first token
  absl::Duration decode;          // first token to the end
  int32_t cached_tokens = 0;      // prompt tokens not computed, because a prefix was shared
  int32_t recomputed_tokens = 0;  // tokens computed again after a preemption
  int32_t preemptions = 0;
  // Tokens that were computed for it, each counted once: of the prompt, and generated.
  int64_t computed_tokens = 0;
  // From its arrival, as it was expected then; none where too little was known.
  std::optional<absl::Duration> expected_first_token;
};

struct TokenEvent {
  RequestId request_id = 0;
  int32_t sample = 0;                          // [0, num_samples)
  TokenId token = kNoToken;                    // kNoToken where the event carries no token
  std::optional<TokenLogprobs> logprobs;       // of `token`, where asked for
  std::vector<TokenLogprobs> prompt_logprobs;  // of prompt[1..], once, with the first event of sample 0
  std::optional<FinishReason> sample_finish;   // this sample ends with this event
  bool request_done = false;                   // the last event of the request
  absl::Status error;                          // for kError
  Receipt receipt;                             // with request_done
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_API_EVENT_H_
