// Where the command line reads and writes, so that tests can give it strings.
#ifndef ROPEWAY_CLIENT_CLI_TERMINAL_H_
#define ROPEWAY_CLIENT_CLI_TERMINAL_H_

#include <functional>
#include <istream>
#include <ostream>

namespace ropeway::client {

struct Terminal {
  std::istream& in;
  std::ostream& out;         // what was asked for, and nothing else
  std::ostream& err;         // errors and notes
  bool interactive = false;  // a person types: show prompts

  // Says what Ctrl-C does from now on; empty: it ends the program. Each handler is used once, so that a
  // second Ctrl-C ends the program. May itself be empty: nobody interrupts.
  std::function<void(std::function<void()>)> on_interrupt;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_TERMINAL_H_
