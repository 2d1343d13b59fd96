#include "client/cli/command_line.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"

namespace ropeway::client {
namespace {

int Report(absl::Status status, Terminal& terminal) {
  // A full disk, say; who reads a pipe no longer ends the program by a signal. Calls end as cancelled then.
  if (!terminal.out.flush()) status = absl::DataLossError("cannot write the output");
  if (status.ok()) return kExitOk;
  terminal.err << "ropeway: " << absl::StrReplaceAll(status.message(), {{"\n", " "}});
  if (absl::StartsWith(status.message(), "cannot connect"))
    terminal.err << " (--server names another address)";
  terminal.err << std::endl;
  return ExitCode(status);
}

int ReportUsage(absl::string_view message, Terminal& terminal) {
  terminal.err << "ropeway: " << absl::StrReplaceAll(message, {{"\n", " "}}) << " (--help tells more)"
               << std::endl;
  return kExitUsage;
}

// The arguments, last one first as CLI11 takes them, with "--name=" in two: CLI11 alone would give the flag
// the next argument as its value.
std::vector<std::string> Reversed(const std::vector<std::string>& arguments) {
  std::vector<std::string> reversed;
  for (auto argument = arguments.rbegin(); argument != arguments.rend(); ++argument) {
    const bool has_empty_value = argument->size() > 3 && absl::StartsWith(*argument, "--") &&
                                 argument->find('=') == argument->size() - 1;
    if (has_empty_value) reversed.emplace_back();
    reversed.emplace_back(has_empty_value ? absl::StripSuffix(*argument, "=") : *argument);
  }
  return reversed;
}

}  // namespace

int RunCommandLine(const std::vector<std::string>& arguments, Terminal& terminal) {
  CLI::App app("Client of the Ropeway language model server", "ropeway");
  app.footer(kExitCodesHelp);
  // Where one is required, CLI11 does not tell which word is no command.
  app.require_subcommand(0, 1);
  const std::vector<Command> commands = {AddGenerate(app), AddChat(app),       AddEstimate(app),
                                         AddTokenize(app), AddDetokenize(app), AddRender(app),
                                         AddInfo(app),     AddHealth(app),     AddAbort(app),
                                         AddBench(app),    AddKeys(app),       AddAdmin(app)};
  try {
    app.parse(Reversed(arguments));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return ReportUsage(error.what(), terminal);
    app.exit(error, terminal.out, terminal.err);
    return Report(absl::OkStatus(), terminal);
  }
  const auto chosen = std::find_if(commands.begin(), commands.end(),
                                   [](const Command& command) { return command.app->parsed(); });
  if (chosen == commands.end()) return ReportUsage("a command is missing", terminal);
  return Report(chosen->run(terminal), terminal);
}

}  // namespace ropeway::client
