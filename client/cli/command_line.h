// The command line as a function.
#ifndef ROPEWAY_CLIENT_CLI_COMMAND_LINE_H_
#define ROPEWAY_CLIENT_CLI_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "client/cli/terminal.h"

namespace ropeway::client {

// Runs `ropeway arguments...` and returns its exit code (exit_code.h). Errors are one line on terminal.err.
int RunCommandLine(const std::vector<std::string>& arguments, Terminal& terminal);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_COMMAND_LINE_H_
