// Ends the calls of clients that take nothing: a write is under way for at most the timeout.
//
// All writes have the same timeout, so they expire in the order in which they began. Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_WRITE_WATCHDOG_H_
#define ROPEWAY_SERVER_FRONT_WRITE_WATCHDOG_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/base/stop_event.h"

namespace ropeway::server {

class WriteWatchdog {
 public:
  // What names a write; kNone names none.
  using Ticket = uint64_t;
  static constexpr Ticket kNone = 0;

  explicit WriteWatchdog(absl::Duration timeout);
  ~WriteWatchdog();  // forgets what it watches

  absl::Duration timeout() const { return timeout_; }

  // Calls `on_timeout` once, from its own thread and without locks held, unless End() comes in time. It may
  // come a little later than End() where both happen at once.
  [[nodiscard]] Ticket Begin(std::function<void()> on_timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(Ticket ticket) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Write {
    absl::Time deadline;
    std::function<void()> on_timeout;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // How long it is until the oldest write expires, or, where there is none, one that begins now.
  absl::Duration UntilNextDeadline() ABSL_LOCKS_EXCLUDED(mutex_);
  // What the oldest write calls, where it has expired.
  std::function<void()> TakeExpired() ABSL_LOCKS_EXCLUDED(mutex_);

  const absl::Duration timeout_;
  const RealClock clock_{};
  StopEvent stop_;
  absl::Mutex mutex_;
  std::map<Ticket, Write> writes_ ABSL_GUARDED_BY(mutex_);  // the first expires first
  Ticket last_ticket_ ABSL_GUARDED_BY(mutex_) = kNone;
  std::thread thread_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_WRITE_WATCHDOG_H_
