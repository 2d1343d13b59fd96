// Runs the command line on strings.
#ifndef ROPEWAY_TESTS_CLIENT_RUN_COMMAND_H_
#define ROPEWAY_TESTS_CLIENT_RUN_COMMAND_H_

#include <sstream>
#include <string>
#include <vector>

#include "client/cli/command_line.h"

namespace ropeway::client {

struct CommandResult {
  int code = 0;
  std::string out;
  std::string err;
};

inline CommandResult RunCommand(const std::vector<std::string>& arguments, const std::string& input = "",
                                bool interactive = false) {
  std::istringstream in(input);
  std::ostringstream out, err;
  Terminal terminal{.in = in, .out = out, .err = err, .interactive = interactive};
  const int code = RunCommandLine(arguments, terminal);
  return {code, out.str(), err.str()};
}

}  // namespace ropeway::client

#endif  // ROPEWAY_TESTS_CLIENT_RUN_COMMAND_H_
