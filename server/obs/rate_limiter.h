// Lets through so many events at once, and then one per interval. Not thread-safe.
#ifndef ROPEWAY_SERVER_OBS_RATE_LIMITER_H_
#define ROPEWAY_SERVER_OBS_RATE_LIMITER_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/time/time.h"

namespace ropeway::server {

class RateLimiter {
 public:
  RateLimiter(int burst, absl::Duration interval) : burst_(burst), interval_(interval), tokens_(burst) {}

  bool Allow(absl::Time now) {
    tokens_ = std::min<double>(
        burst_, tokens_ + absl::FDivDuration(std::max(now - last_, absl::ZeroDuration()), interval_));
    last_ = now;
    if (tokens_ < 1) {
      ++suppressed_;
      return false;
    }
    tokens_ -= 1;
    return true;
  }

  // How many were not let through since this was asked last.
  int64_t TakeSuppressed() { return std::exchange(suppressed_, 0); }

 private:
  const int burst_;
  const absl::Duration interval_;
  double tokens_;
  absl::Time last_ = absl::InfinitePast();
  int64_t suppressed_ = 0;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_RATE_LIMITER_H_
