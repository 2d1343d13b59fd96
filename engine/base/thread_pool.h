// Threads that run one function together, phase after phase, with a barrier between the phases.
//
// One thread at a time calls Run and takes part as member 0. Between runs the workers spin for a moment,
// since the next step usually follows at once, then sleep, so that an idle server costs nothing.
#ifndef ROPEWAY_ENGINE_BASE_THREAD_POOL_H_
#define ROPEWAY_ENGINE_BASE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace ropeway {

// All of `threads` threads wait for each other. Spins for some tens of microseconds, then yields so that it
// still works when threads share a core.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void Wait();

 private:
  const int threads_;
  alignas(64) std::atomic<int> arrived_ = 0;
  alignas(64) std::atomic<uint32_t> generation_ = 0;
};

// What a member of the team knows inside Run.
class Team {
 public:
  Team(int index, int size, Barrier& barrier) : index_(index), size_(size), barrier_(barrier) {}
  int index() const { return index_; }
  int size() const { return size_; }
  // All members call it the same number of times; what any wrote before, all see after.
  void Wait() { barrier_.Wait(); }

 private:
  const int index_, size_;
  Barrier& barrier_;
};

class ThreadPool {
 public:
  // REQUIRES: threads >= 1. Throws std::system_error where the system gives no thread (exhaustion.h). With
  // `pin`, thread i stays on the i-th processor that this process may use.
  explicit ThreadPool(int threads, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Runs body on all members and returns when all are done.
  void Run(const std::function<void(Team&)>& body);

 private:
  void Work(int index);
  void EndWorkers();

  const int size_;
  Barrier barrier_;
  std::vector<std::thread> workers_;
  const std::function<void(Team&)>* body_ = nullptr;  // null asks the workers to end
  alignas(64) std::atomic<uint32_t> runs_ = 0;        // written by Run, awaited by workers
};

// How many threads compute best on what of the machine this process may use (machine.h), at least 1.
int NumUsableProcessors();

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_THREAD_POOL_H_
