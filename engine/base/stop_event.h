// Tells a thread that sleeps between two looks, or until a deadline, to stop.
//
// Patience is measured evenly. Waits of absl::Mutex end by the system's clock, and take an hour more where that is set
// back by one meanwhile. Thread-safe.
#ifndef ROPEWAY_ENGINE_BASE_STOP_EVENT_H_
#define ROPEWAY_ENGINE_BASE_STOP_EVENT_H_

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace ropeway {

class StopEvent {
 public:
  // For good.
  void Stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

  // Whether it was told to stop, which it waits for as long as `patience`, at most a day.
  bool WaitFor(absl::Duration patience) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto most = absl::ToChronoNanoseconds(std::min(patience, absl::Hours(24)));
    return changed_.wait_for(lock, most, [this] { return stopped_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_STOP_EVENT_H_
