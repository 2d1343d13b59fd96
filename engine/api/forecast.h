// What is expected of a request that comes now.
#ifndef ROPEWAY_ENGINE_API_FORECAST_H_
#define ROPEWAY_ENGINE_API_FORECAST_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ropeway {

// From now on, time in the queue included.
struct ExpectedTimes {
  absl::Duration first_token;
  absl::Duration next_token;  // from one token of an answer to the next
  absl::Duration end;         // of answers of Forecast::expected_tokens
};

struct Forecast {
  int32_t pages = 0;                   // that prompt and answers fill at most
  int32_t cached_tokens = 0;           // of the prompt, that are found in the prefix cache now
  int32_t expected_tokens = 0;         // of each answer
  std::optional<ExpectedTimes> times;  // none until enough steps were measured
  // RESOURCE_EXHAUSTED with a retry hint where the request would not be taken now.
  absl::Status refusal;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_API_FORECAST_H_
