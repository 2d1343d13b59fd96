// Waits for what ends a server: a signal, an admin, or a lost device.
//
//   SIGTERM, SIGINT              a reason to drain; a second one ends the process at once, with 1. Before
//                                anything is served, the first one ends it, with 0
//   SIGHUP                       certificates and keys are read again; running streams go on, so that a terminal
//                                may close
//   SIGUSR1, SIGUSR2             logged, and of no effect
//   SIGPIPE, SIGXFSZ             ignored: what was to be written fails, and that is told
#ifndef ROPEWAY_SERVER_END_WATCH_H_
#define ROPEWAY_SERVER_END_WATCH_H_

#include <signal.h>

#include <atomic>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "server/obs/log.h"

namespace ropeway::server {

// Blocks the signals above for this thread and all that it starts from now on, so that they can be waited
// for.
void BlockSignals();

// Thread-safe. Lives as long as the process, as its thread does.
class EndWatch {
 public:
  static constexpr int kExitCutShort = 1;

  // REQUIRES: BlockSignals() was called before any thread was started. `log` lives as long as the process.
  explicit EndWatch(const Log& log);

  void OnServing() { serving_.Notify(); }
  void OnLost();
  void OnDrainAsked() { Tell(); }
  // What SIGHUP does; null: nothing. Returns when what it did before is over.
  void SetOnHangup(std::function<void()> on_hangup);
  void WaitForReason() { reason_.WaitForNotification(); }
  bool lost() const { return lost_; }

 private:
  void Run();
  void AwaitEndingSignal();
  void OnHangup();
  [[noreturn]] void Leave(int code) const;
  void Tell();

  const Log& log_;
  absl::Mutex mutex_;
  std::function<void()> on_hangup_ ABSL_GUARDED_BY(mutex_);
  absl::Notification serving_;
  absl::Notification reason_;
  std::atomic<bool> told_ = false;  // reason_ is notified once
  std::atomic<bool> lost_ = false;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_END_WATCH_H_
