#include "server/end_watch.h"

#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

namespace ropeway::server {
namespace {

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  for (const int signal_number : {SIGPIPE, SIGXFSZ}) signal(signal_number, SIG_IGN);
}

EndWatch::EndWatch(const Log& log) : log_(log) {
  std::thread([this] { Run(); }).detach();
}

void EndWatch::OnLost() {
  lost_ = true;
  Tell();
}

void EndWatch::Run() {
  AwaitEndingSignal();
  if (!serving_.HasBeenNotified()) {
    log_.Info("ended by a signal before anything was served");
    Leave(EXIT_SUCCESS);
  }
  Tell();
  AwaitEndingSignal();
  log_.Warning("the drain was cut short by a second signal");
  Leave(kExitCutShort);
}

void EndWatch::Leave(int code) const {
  log_.Flush();
  std::_Exit(code);
}

void EndWatch::SetOnHangup(std::function<void()> on_hangup) {
  absl::MutexLock lock(&mutex_);
  on_hangup_ = std::move(on_hangup);
}

void EndWatch::OnHangup() {
  absl::MutexLock lock(&mutex_);
  log_.Info(on_hangup_ ? "hangup: files are read again" : "hangup without effect: nothing is served");
  if (on_hangup_) on_hangup_();
}

void EndWatch::AwaitEndingSignal() {
  const sigset_t signals = WatchedSignals();
  for (int signal = 0;;) {
    sigwait(&signals, &signal);
    if (signal == SIGTERM || signal == SIGINT) return;
    if (signal == SIGHUP) {
      OnHangup();
      continue;
    }
    log_.Info("signal without effect", {{"signal", strsignal(signal)}});
  }
}

void EndWatch::Tell() {
  if (!told_.exchange(true)) reason_.Notify();
}

}  // namespace ropeway::server
