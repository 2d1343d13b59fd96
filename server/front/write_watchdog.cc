#include "server/front/write_watchdog.h"

#include <utility>

namespace ropeway::server {

WriteWatchdog::WriteWatchdog(absl::Duration timeout) : timeout_(timeout), thread_([this] { Run(); }) {}

WriteWatchdog::~WriteWatchdog() {
  stop_.Stop();
  thread_.join();
}

WriteWatchdog::Ticket WriteWatchdog::Begin(std::function<void()> on_timeout) {
  absl::MutexLock lock(&mutex_);
  writes_.emplace_hint(writes_.end(), ++last_ticket_,
                       Write{.deadline = clock_.Now() + timeout_, .on_timeout = std::move(on_timeout)});
  return last_ticket_;
}

void WriteWatchdog::End(Ticket ticket) {
  std::function<void()> dropped;  // what it holds is let go without the lock
  absl::MutexLock lock(&mutex_);
  const auto found = writes_.find(ticket);
  if (found == writes_.end()) return;
  dropped = std::move(found->second.on_timeout);
  writes_.erase(found);
}

absl::Duration WriteWatchdog::UntilNextDeadline() {
  absl::MutexLock lock(&mutex_);
  return writes_.empty() ? timeout_ : writes_.begin()->second.deadline - clock_.Now();
}

std::function<void()> WriteWatchdog::TakeExpired() {
  absl::MutexLock lock(&mutex_);
  if (writes_.empty() || writes_.begin()->second.deadline > clock_.Now()) return nullptr;
  std::function<void()> on_timeout = std::move(writes_.begin()->second.on_timeout);
  writes_.erase(writes_.begin());
  return on_timeout;
}

// Sleeps until the write that is the oldest now would expire; most have ended by then. One that begins meanwhile
// expires later.
void WriteWatchdog::Run() {
  while (!stop_.WaitFor(UntilNextDeadline()))
    if (const std::function<void()> on_timeout = TakeExpired()) on_timeout();
}

}  // namespace ropeway::server
