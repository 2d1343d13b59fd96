#include "engine/base/thread_pool.h"

#include <sched.h>

#include "engine/base/check.h"
#include "engine/base/machine.h"

namespace ropeway {
namespace {

constexpr int kBarrierSpins = 2000;
constexpr int kIdleSpins = 20000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Failing to pin costs speed, not correctness.
void PinTo(int index) {
  const std::vector<int> processors = UsableProcessors();
  if (processors.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processors[static_cast<size_t>(index) % processors.size()], &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace

void Barrier::Wait() {
  if (threads_ == 1) return;
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; ++spins) {
    if (spins < kBarrierSpins)
      Pause();
    else
      std::this_thread::yield();
  }
}

ThreadPool::ThreadPool(int threads, bool pin) : size_(threads), barrier_(threads) {
  ROPEWAY_CHECK(threads >= 1);
  try {
    for (int i = 1; i < threads; ++i)
      workers_.emplace_back([this, i, pin] {
        if (pin) PinTo(i);
        Work(i);
      });
  } catch (...) {
    EndWorkers();
    throw;
  }
}

ThreadPool::~ThreadPool() { EndWorkers(); }

void ThreadPool::EndWorkers() {
  body_ = nullptr;
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(const std::function<void(Team&)>& body) {
  body_ = &body;
  runs_.fetch_add(1, std::memory_order_release);
  runs_.notify_all();
  Team team(0, size_, barrier_);
  body(team);
  barrier_.Wait();
}

void ThreadPool::Work(int index) {
  Team team(index, size_, barrier_);
  for (uint32_t seen = 0;; ++seen) {
    for (int spins = 0; spins < kIdleSpins && runs_.load(std::memory_order_acquire) == seen; ++spins) Pause();
    runs_.wait(seen, std::memory_order_acquire);
    if (body_ == nullptr) return;
    (*body_)(team);
    barrier_.Wait();
  }
}

int NumUsableProcessors() { return LookAtMachine().threads(); }

}  // namespace ropeway
