#include "client/retry.h"

#include <algorithm>

#include "absl/strings/numbers.h"

namespace ropeway::client {

RetryHint ParseRetryHint(const std::string& pushback_ms) {
  int64_t milliseconds = 0;
  if (!absl::SimpleAtoi(pushback_ms, &milliseconds) || milliseconds < 0) return {.forbidden = true};
  return {.wait = absl::Milliseconds(milliseconds)};
}

std::optional<absl::Duration> WaitBeforeRetry(const RetryPolicy& policy, absl::StatusCode code,
                                              const RetryHint& hint, int32_t attempts,
                                              absl::Duration remaining, double jitter) {
  const bool may_pass =
      code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted;
  if (!may_pass || hint.forbidden || attempts >= policy.max_attempts) return std::nullopt;
  absl::Duration wait = policy.first_backoff;
  for (int32_t i = 1; i < attempts && wait < policy.max_backoff; ++i) wait *= 2;
  wait = std::min(wait, policy.max_backoff) * (0.5 + 0.5 * jitter);
  if (hint.wait) wait = *hint.wait;
  if (wait >= remaining) return std::nullopt;
  return wait;
}

}  // namespace ropeway::client
