// Ends a call from another thread.
#ifndef ROPEWAY_CLIENT_CANCELLATION_H_
#define ROPEWAY_CLIENT_CANCELLATION_H_

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace ropeway::client {

// Thread-safe. Serves one call at a time; stays cancelled for good. It outlives the call that it is given to.
class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Ends the call that runs, and every later one at its beginning. Does not wait for its end.
  void Cancel() {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (end_call_) end_call_();
  }

  bool cancelled() const {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }

  // For the maker of the call: `end_call` is run by Cancel, at once where that was before, until Detach.
  void Attach(std::function<void()> end_call) {
    absl::MutexLock lock(&mutex_);
    end_call_ = std::move(end_call);
    if (cancelled_) end_call_();
  }
  void Detach() {
    absl::MutexLock lock(&mutex_);
    end_call_ = nullptr;
  }

  // Waits for `duration` or for Cancel, whichever comes first; returns whether it was Cancel.
  bool WaitFor(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), duration);
  }

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> end_call_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CANCELLATION_H_
