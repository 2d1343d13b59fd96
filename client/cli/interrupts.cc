#include "client/cli/interrupts.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "client/cli/exit_code.h"

namespace ropeway::client {
namespace {

int BlockedInterrupts() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

}  // namespace

Interrupts::Interrupts()
    : signal_fd_(BlockedInterrupts()), stop_fd_(eventfd(0, EFD_CLOEXEC)), thread_([this] { Watch(); }) {}

Interrupts::~Interrupts() {
  eventfd_write(stop_fd_, 1);
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void Interrupts::SetHandler(std::function<void()> handler) {
  absl::MutexLock lock(&mutex_);
  handler_ = std::move(handler);
}

void Interrupts::Watch() {
  for (;;) {
    pollfd ready[] = {{.fd = signal_fd_, .events = POLLIN, .revents = 0},
                      {.fd = stop_fd_, .events = POLLIN, .revents = 0}};
    if (poll(ready, 2, -1) < 0) continue;
    if (ready[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) Handle();
  }
}

void Interrupts::Handle() {
  absl::MutexLock lock(&mutex_);
  // Nothing to save: ends without waiting for the thread that reads standard input.
  if (!handler_) std::_Exit(kExitInterrupted);
  std::exchange(handler_, nullptr)();
}

}  // namespace ropeway::client
