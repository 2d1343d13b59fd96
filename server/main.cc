// ropeway_server: flags → Config → Server → wait for a signal → drain.
//
// Exit codes: 0 after a drain, 2 where the server could not start, 1 where a second signal cut the drain
// short or the device that computes was lost, so that whoever runs the server starts it again.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "absl/synchronization/notification.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "server/config/command_line.h"
#include "server/obs/log.h"
#include "server/server.h"

namespace {

constexpr int kExitCutShort = 1;
constexpr int kExitLost = 1;
constexpr int kExitCannotStart = 2;

int CannotStart(const absl::Status& status) {
  std::fprintf(stderr, "ropeway_server: %s\n", std::string(status.message()).c_str());
  return kExitCannotStart;
}

// Blocks SIGTERM and SIGINT for this thread and those it starts: they are waited for instead of interrupting.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Waits for a reason to end: a signal or a lost device. A second signal ends the process. Before anything is
// served, so does the first.
class EndWatch {
 public:
  explicit EndWatch(const sigset_t& signals) {
    std::thread([this, signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      if (!serving_.HasBeenNotified()) std::_Exit(EXIT_SUCCESS);
      Tell();
      sigwait(&signals, &signal);
      std::_Exit(kExitCutShort);
    }).detach();
  }
  void OnServing() { serving_.Notify(); }
  void OnLost() {
    lost_ = true;
    Tell();
  }
  void WaitForReason() { reason_.WaitForNotification(); }
  bool lost() const { return lost_; }

 private:
  void Tell() {
    if (!told_.exchange(true)) reason_.Notify();
  }

  absl::Notification serving_;
  absl::Notification reason_;
  std::atomic<bool> told_ = false;  // reason_ is notified once
  std::atomic<bool> lost_ = false;
};

// Libraries write to standard error in forms of their own, also about what a client did wrong; the server's
// own messages tell what matters.
void SilenceLibraries() {
  gpr_set_log_function([](gpr_log_func_args*) {});
  google::protobuf::SetLogHandler(nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const sigset_t signals = BlockSignals();
  auto parsed = ropeway::server::ParseCommandLine(argc, argv);
  if (!parsed.ok()) return CannotStart(parsed.status());
  if (const auto* print = std::get_if<ropeway::server::PrintAndLeave>(&*parsed)) {
    std::fputs(print->text.c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const ropeway::server::Config& config = std::get<ropeway::server::Config>(*parsed);
  const ropeway::server::Log log(ropeway::server::ParseLogLevel(config.log_level));
  SilenceLibraries();
  auto* watch = new EndWatch(signals);  // its thread ends with the process
  auto server =
      ropeway::server::Server::Start(config, log, ropeway::server::LoadModel, [watch] { watch->OnLost(); });
  if (!server.ok()) return CannotStart(server.status());
  watch->OnServing();
  watch->WaitForReason();
  const absl::Duration timeout = watch->lost() ? absl::ZeroDuration() : config.drain_timeout;
  log.Info("draining", {{"timeout", absl::FormatDuration(timeout)}});
  (*server)->Drain(timeout);
  log.Info("drained");
  return watch->lost() ? kExitLost : EXIT_SUCCESS;
}
