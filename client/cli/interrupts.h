// Ctrl-C as a function call on a thread of its own, where locks may be taken.
#ifndef ROPEWAY_CLIENT_CLI_INTERRUPTS_H_
#define ROPEWAY_CLIENT_CLI_INTERRUPTS_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ropeway::client {

// One per process, made before other threads are: they inherit that SIGINT is blocked.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // What the next SIGINT does, once. Empty: the process exits with code 130. Waits for a handler that runs.
  void SetHandler(std::function<void()> handler);

 private:
  void Watch();
  void Handle();

  const int signal_fd_;
  // Becomes readable to end the thread.
  const int stop_fd_;
  absl::Mutex mutex_;
  std::function<void()> handler_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_INTERRUPTS_H_
