// A few threads that do what must not be done in a reaction of gRPC (tokenizing, rendering templates) or on
// the engine's thread (serializing and sending).
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_WORKER_POOL_H_
#define ROPEWAY_SERVER_FRONT_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ropeway::server {

class WorkerPool {
 public:
  using Task = std::function<void()>;

  // At most `max_waiting` tasks wait for a thread. Throws std::system_error where the system gives no thread
  // (engine/base/exhaustion.h).
  WorkerPool(int num_threads, size_t max_waiting);
  ~WorkerPool();  // runs what waits, then ends the threads

  // Runs `task` soon. False, and the task is dropped, where too many wait.
  [[nodiscard]] bool TryPost(Task task);

 private:
  bool HasWorkOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !tasks_.empty(); }
  void Run();
  void Stop();

  const size_t max_waiting_;
  absl::Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_WORKER_POOL_H_
