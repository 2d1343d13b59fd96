// When to try a failed call again: pure, so that it is tested without a clock.
#ifndef ROPEWAY_CLIENT_RETRY_H_
#define ROPEWAY_CLIENT_RETRY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ropeway::client {

struct RetryPolicy {
  // 1: never again.
  int32_t max_attempts = 4;
  // Doubles with each attempt.
  absl::Duration first_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
};

// What the server says by the trailing metadata grpc-retry-pushback-ms: absent, a wait, or "do not".
struct RetryHint {
  bool forbidden = false;
  std::optional<absl::Duration> wait;
};

// Reads the value of grpc-retry-pushback-ms. As gRPC defines it, what is negative or no number forbids it.
RetryHint ParseRetryHint(const std::string& pushback_ms);

// How long to wait before another attempt, or nullopt where there should be none. Only UNAVAILABLE and
// RESOURCE_EXHAUSTED are tried again, and only while the wait ends before `remaining`, the rest of the
// deadline. `attempts`: made so far, >= 1. `jitter` in [0, 1) spreads clients over half of the backoff; a
// hint is followed as is.
std::optional<absl::Duration> WaitBeforeRetry(const RetryPolicy& policy, absl::StatusCode code,
                                              const RetryHint& hint, int32_t attempts,
                                              absl::Duration remaining, double jitter);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_RETRY_H_
