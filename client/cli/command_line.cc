#include "client/cli/command_line.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"

namespace ropeway::client {
namespace {

int Report(const absl::Status& status, Terminal& terminal) {
  if (status.ok()) return kExitOk;
  terminal.err << "ropeway: " << status.message();
  if (absl::StartsWith(status.message(), "cannot connect"))
    terminal.err << " (--server names another address)";
  terminal.err << std::endl;
  return ExitCode(status);
}

}  // namespace

int RunCommandLine(const std::vector<std::string>& arguments, Terminal& terminal) {
  CLI::App app("Client of the Ropeway language model server", "ropeway");
  app.footer(kExitCodesHelp);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  const std::vector<Command> commands = {AddGenerate(app),   AddChat(app),   AddTokenize(app),
                                         AddDetokenize(app), AddRender(app), AddInfo(app),
                                         AddHealth(app),     AddAbort(app),  AddBench(app)};
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 takes them
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, terminal.out, terminal.err) == 0 ? kExitOk : kExitUsage;
  }
  const auto chosen = std::find_if(commands.begin(), commands.end(),
                                   [](const Command& command) { return command.app->parsed(); });
  return Report(chosen->run(terminal), terminal);
}

}  // namespace ropeway::client
