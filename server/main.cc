// ropeway_server: flags → Config → Server → wait for a signal → drain.
//
// Exit codes: 0 after a drain, 2 where the server could not start, 1 where a second signal cut the drain
// short.
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

// The first signal is told; the second ends the process. Before anything is served, so does the first.
class SignalWatch {
 public:
  explicit SignalWatch(const sigset_t& signals) {
    std::thread([this, signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      if (!serving_.HasBeenNotified()) std::_Exit(EXIT_SUCCESS);
      first_.Notify();
      sigwait(&signals, &signal);
      std::_Exit(kExitCutShort);
    }).detach();
  }
  void OnServing() { serving_.Notify(); }
  void WaitForFirst() { first_.WaitForNotification(); }

 private:
  absl::Notification serving_;
  absl::Notification first_;
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
  auto parsed = ropeway::ParseCommandLine(argc, argv);
  if (!parsed.ok()) return CannotStart(parsed.status());
  if (const auto* print = std::get_if<ropeway::PrintAndLeave>(&*parsed)) {
    std::fputs(print->text.c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const ropeway::Config& config = std::get<ropeway::Config>(*parsed);
  const ropeway::Log log(ropeway::ParseLogLevel(config.log_level));
  SilenceLibraries();
  auto* watch = new SignalWatch(signals);  // its thread ends with the process
  auto server = ropeway::Server::Start(config, log);
  if (!server.ok()) return CannotStart(server.status());
  watch->OnServing();
  watch->WaitForFirst();
  log.Info("draining", {{"timeout", absl::FormatDuration(config.drain_timeout)}});
  (*server)->Drain(config.drain_timeout);
  log.Info("drained");
  return EXIT_SUCCESS;
}
