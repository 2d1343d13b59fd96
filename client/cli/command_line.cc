#include "client/cli/command_line.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"

namespace ropeway::client {
namespace {

int Report(absl::Status status, Terminal& terminal) {
  // A full disk, say; who reads a pipe no longer ends the program by a signal.
  if (!terminal.out.flush()) status.Update(absl::DataLossError("cannot write the output"));
  if (status.ok()) return kExitOk;
  terminal.err << "ropeway: " << status.message();
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

// What is wrong with a number that CLI11 takes all the same: it reads "" as 0, and -1 as the largest number
// where there is no sign. Empty where nothing is.
std::string FindBadNumber(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    const bool is_unsigned = absl::StartsWith(type, "UINT");
    if (!is_unsigned && !absl::StartsWith(type, "INT") && !absl::StartsWith(type, "FLOAT")) continue;
    for (const std::string& value : option->results()) {
      if (value.empty()) return absl::StrCat(option->get_name(), " takes a number, not ''");
      if (is_unsigned && value[0] == '-') {
        return absl::StrCat(option->get_name(), " must be at least 0, is ", value);
      }
    }
  }
  for (const CLI::App* part : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (std::string bad = FindBadNumber(*part); !bad.empty()) return bad;
  }
  return "";
}

}  // namespace

int RunCommandLine(const std::vector<std::string>& arguments, Terminal& terminal) {
  CLI::App app("Client of the Ropeway language model server", "ropeway");
  app.footer(kExitCodesHelp);
  app.require_subcommand(0, 1);  // where it is required, CLI11 does not tell which word is no command
  const std::vector<Command> commands = {AddGenerate(app),   AddChat(app),   AddTokenize(app),
                                         AddDetokenize(app), AddRender(app), AddInfo(app),
                                         AddHealth(app),     AddAbort(app),  AddBench(app)};
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 takes them
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return ReportUsage(error.what(), terminal);
    app.exit(error, terminal.out, terminal.err);
    return kExitOk;
  }
  if (const std::string bad = FindBadNumber(app); !bad.empty()) return ReportUsage(bad, terminal);
  const auto chosen = std::find_if(commands.begin(), commands.end(),
                                   [](const Command& command) { return command.app->parsed(); });
  if (chosen == commands.end()) return ReportUsage("a command is missing", terminal);
  return Report(chosen->run(terminal), terminal);
}

}  // namespace ropeway::client
