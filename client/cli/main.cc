// ropeway: the command line client.
#include <unistd.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/interrupts.h"
#include "client/cli/terminal.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"

int main(int argc, char** argv) {
  // Libraries write to standard error in forms of their own what the client says itself.
  gpr_set_log_function([](gpr_log_func_args*) {});
  google::protobuf::SetLogHandler(nullptr);
  ropeway::client::Interrupts interrupts;
  ropeway::client::Terminal terminal{.in = std::cin,
                                     .out = std::cout,
                                     .err = std::cerr,
                                     .interactive = isatty(STDIN_FILENO) == 1,
                                     .on_interrupt = [&interrupts](std::function<void()> handler) {
                                       interrupts.SetHandler(std::move(handler));
                                     }};
  return ropeway::client::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc), terminal);
}
