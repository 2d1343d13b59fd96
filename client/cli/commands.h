// The commands of `ropeway`. Each adds itself to the command line and returns what runs it where chosen.
#ifndef ROPEWAY_CLIENT_CLI_COMMANDS_H_
#define ROPEWAY_CLIENT_CLI_COMMANDS_H_

#include <functional>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "client/cli/terminal.h"

namespace ropeway::client {

struct Command {
  CLI::App* app = nullptr;
  std::function<absl::Status(Terminal&)> run;
};

Command AddGenerate(CLI::App& app);
Command AddChat(CLI::App& app);
Command AddEstimate(CLI::App& app);
Command AddTokenize(CLI::App& app);
Command AddDetokenize(CLI::App& app);
Command AddRender(CLI::App& app);
Command AddInfo(CLI::App& app);
Command AddHealth(CLI::App& app);
Command AddAbort(CLI::App& app);
Command AddBench(CLI::App& app);
Command AddKeys(CLI::App& app);
Command AddAdmin(CLI::App& app);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_COMMANDS_H_
