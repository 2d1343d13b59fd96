// Where the command line reads and writes, so that tests can give it strings.
#ifndef ROPEWAY_CLIENT_CLI_TERMINAL_H_
#define ROPEWAY_CLIENT_CLI_TERMINAL_H_

#include <functional>
#include <istream>
#include <ostream>

namespace ropeway::client {

struct Terminal {
  std::istream& in;
  // What was asked for, and nothing else.
  std::ostream& out;
  // Errors and notes.
  std::ostream& err;
  // A person types: show prompts.
  bool interactive = false;

  // Says what Ctrl-C does from now on; empty: it ends the program. Each handler is used once, so that a
  // second Ctrl-C ends the program. May itself be empty: nobody interrupts.
  std::function<void(std::function<void()>)> on_interrupt;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_TERMINAL_H_
