// ropeway_server: flags → Config → Server → wait for a signal → drain.
//
// Exit codes: 0 after a drain, 2 where the server could not start, 1 where a second signal cut the drain
// short or the device that computes was lost, so that whoever runs the server starts it again.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/exhaustion.h"
#include "engine/base/machine.h"
#include "engine/base/printable.h"
#include "engine/model/mapped_file.h"
#include "server/config/command_line.h"
#include "server/end_watch.h"
#include "server/obs/library_log.h"
#include "server/obs/log.h"
#include "server/process_limits.h"
#include "server/server.h"

namespace ropeway::server {
namespace {

constexpr int kExitLost = 1;
constexpr int kExitCannotStart = 2;

int CannotStart(const absl::Status& status, const Log& log) {
  log.Verbatim(absl::StrCat("ropeway_server: ", Printable(std::string(status.message()), kMaxMessageBytes)));
  return kExitCannotStart;
}

void LogMachine(const Log& log) {
  const OpenFileLimit files = RaiseOpenFileLimit();
  const UsableMachine machine = LookAtMachine();
  log.Info("this machine", {{"processors", machine.processors},
                            {"cores", machine.cores},
                            {"cpu_quota", machine.cpu_quota > 0 ? absl::StrCat(machine.cpu_quota) : "none"},
                            {"nodes", machine.nodes.empty() ? "unknown" : absl::StrJoin(machine.nodes, ",")},
                            {"memory_mb", machine.memory_bytes >> 20},
                            {"free_mb", machine.free_bytes >> 20},
                            {"open_files", files.now},
                            {"open_files_before", files.before}});
}

Server::Events EventsOf(EndWatch& watch) {
  return {.on_lost = [&watch] { watch.OnLost(); }, .on_drain = [&watch] { watch.OnDrainAsked(); }};
}

int Serve(const Config& config, const Log& log) {
  const LibraryLog library_log(log);
  auto& watch = *new EndWatch(log);  // its thread ends with the process
  ExplainLostMappings();
  LogMachine(log);
  if (const absl::Status checked = CatchExhaustion([&] { return CheckAddressSpace(config.model); });
      !checked.ok())
    return CannotStart(checked, log);
  const auto server = CatchExhaustion([&] { return Server::Start(config, log, LoadModel, EventsOf(watch)); });
  if (!server.ok()) return CannotStart(server.status(), log);
  watch.SetOnHangup([&server] { (*server)->Reload(); });
  watch.OnServing();
  watch.WaitForReason();
  const absl::Duration timeout = watch.lost() ? absl::ZeroDuration() : config.drain_timeout;
  log.Info("draining", {{"timeout", absl::FormatDuration(timeout)}});
  (*server)->Drain(timeout);
  watch.SetOnHangup(nullptr);
  log.Info("drained");
  return watch.lost() ? kExitLost : EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  BlockSignals();
  const auto parsed = ParseCommandLine(argc, argv);
  if (!parsed.ok()) return CannotStart(parsed.status(), Log(LogLevel::kInfo));
  if (const auto* print = std::get_if<PrintAndLeave>(&*parsed)) {
    std::fputs(print->text.c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const Config& config = std::get<Config>(*parsed);
  const Log& log = *new Log(config.log_level);  // lives as long as the process, for those who end it
  const int code = Serve(config, log);
  log.Flush();
  return code;
}

}  // namespace
}  // namespace ropeway::server

// Before there is a log, too, memory and threads may be missing.
int main(int argc, char** argv) {
  try {
    return ropeway::server::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ropeway_server: %s\n", error.what());
    return ropeway::server::kExitCannotStart;
  }
}
