// Reads flags, environment and settings file into a Config; nothing else in the server reads any of them.
//
// What is given on the command line wins over the environment (ROPEWAY_MAX_RUNNING for --max_running), and
// that over the settings file (--config FILE with lines such as "max_running = 8").
#ifndef ROPEWAY_SERVER_CONFIG_COMMAND_LINE_H_
#define ROPEWAY_SERVER_CONFIG_COMMAND_LINE_H_

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace ropeway::server {

// What to print before leaving with success: the answer to --help and --version.
struct PrintAndLeave {
  std::string text;
};

// The validated settings. INVALID_ARGUMENT in one line that names the flag.
absl::StatusOr<std::variant<Config, PrintAndLeave>> ParseCommandLine(int argc, const char* const* argv);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_COMMAND_LINE_H_
