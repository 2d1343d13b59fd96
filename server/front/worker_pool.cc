#include "server/front/worker_pool.h"

#include <utility>

namespace ropeway::server {

WorkerPool::WorkerPool(int num_threads, size_t max_waiting) : max_waiting_(max_waiting) {
  try {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back(&WorkerPool::Run, this);
  } catch (...) {
    Stop();
    throw;
  }
}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::TryPost(Task task) {
  absl::MutexLock lock(&mutex_);
  if (tasks_.size() >= max_waiting_) return false;
  tasks_.push_back(std::move(task));
  return true;
}

void WorkerPool::Run() {
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(this, &WorkerPool::HasWorkOrStops));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace ropeway::server
