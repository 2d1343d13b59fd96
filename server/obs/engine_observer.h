// What the engine loop tells whoever measures it.
//
// Called by the engine's thread alone, between steps: implementations return at once and never block.
#ifndef ROPEWAY_SERVER_OBS_ENGINE_OBSERVER_H_
#define ROPEWAY_SERVER_OBS_ENGINE_OBSERVER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ropeway::server {

// What a generation request came to, whichever way it ended.
struct RequestOutcome {
  absl::string_view finish_reason;  // "stop", "length", "abort", "deadline", "error"
  absl::StatusCode code = absl::StatusCode::kOk;
  int32_t prompt_tokens = 0;
  int32_t generated_tokens = 0;
  int32_t longest_sample_tokens = 0;  // generated for the sample that has the most
  int32_t cached_tokens = 0;
  absl::Duration queue;
  absl::Duration prefill;
  absl::Duration decode;
  absl::Duration total;
  // From arrival to the first token, as it was expected on arrival; none where too little was known.
  std::optional<absl::Duration> expected_first_token;
};

// What a step costs time for, and how much.
struct StepCost {
  absl::string_view term;  // "step", "prompt_token", ...
  absl::Duration cost;
};

// The state of the engine after a step.
struct EngineGauges {
  int32_t running = 0;       // requests in the batch
  int32_t waiting = 0;       // requests that wait for a place in it, those that were preempted included
  int32_t used_pages = 0;    // held by requests
  int32_t cached_pages = 0;  // held by none, but the beginning of a prompt is found in them
  int32_t prefix_pages = 0;  // in which the beginning of a prompt is found, held or not
  int32_t total_pages = 0;
};

class EngineObserver {
 public:
  virtual ~EngineObserver() = default;

  virtual void SetEngine(const EngineGauges& gauges) = 0;
  virtual void OnStep(absl::Duration duration, int32_t batch_tokens, int32_t batch_sequences) = 0;
  // As they are known now, of the same terms each time, and the mean relative error of what they foretell.
  virtual void SetStepCosts(absl::Span<const StepCost> costs, double error) = 0;
  virtual void OnStepFailed(const absl::Status& error) = 0;  // the requests of that step have ended
  virtual void OnPreemptions(int32_t count) = 0;
  virtual void OnEvictions(int32_t pages) = 0;                  // from the prefix cache
  virtual void OnDeadlineRefusals(int32_t count) = 0;           // of requests whose deadlines cannot be met
  virtual void OnFirstToken(absl::Duration since_arrival) = 0;  // of a request
  virtual void OnSiblingToken() = 0;  // the first one of another sample of a request that has its first token
  virtual void OnNextToken(absl::Duration since_last) = 0;  // of the sample
  virtual void OnRequestEnd(const RequestOutcome& outcome) = 0;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_ENGINE_OBSERVER_H_
