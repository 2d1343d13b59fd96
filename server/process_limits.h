// What the system lets this process have: open files (connections, too) and address space.
#ifndef ROPEWAY_SERVER_PROCESS_LIMITS_H_
#define ROPEWAY_SERVER_PROCESS_LIMITS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace ropeway::server {

struct OpenFileLimit {
  int64_t before = 0;
  int64_t now = 0;
};

// Raises the soft limit to the hard one: many systems start programs with 1024, which as many idle
// connections use up. 0 where the system tells nothing.
OpenFileLimit RaiseOpenFileLimit();

// RESOURCE_EXHAUSTED where a limit of address space (ulimit -v) has no room for the threads of the libraries
// and the model at this path, all its files mapped and packed. To be asked before gRPC starts, which aborts where it gets
// no thread. Paths that cannot be looked at pass: whoever opens them tells why.
absl::Status CheckAddressSpace(const std::string& model);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_PROCESS_LIMITS_H_
