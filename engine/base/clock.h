// Time as a dependency, so that tests and simulations can hold it in their hands.
//
// Thread-safe: every method of every Clock may be called from any thread.
#ifndef ROPEWAY_ENGINE_BASE_CLOCK_H_
#define ROPEWAY_ENGINE_BASE_CLOCK_H_

#include <chrono>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ropeway {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

// Begins with the system's time and runs evenly from there, so that timeouts and rates keep their length where the
// system's clock is set meanwhile. Times of two of them, and those of the system, are not to be compared.
class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return began_ + absl::FromChrono(Steady::now() - began_steady_); }

 private:
  using Steady = std::chrono::steady_clock;
  const absl::Time began_ = absl::Now();
  const Steady::time_point began_steady_ = Steady::now();
};

// Stands still until told to move.
class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(absl::Time now = absl::UnixEpoch()) : now_(now) {}
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    now_ += duration;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_CLOCK_H_
