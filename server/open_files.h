// How many files and connections this process may have open.
#ifndef ROPEWAY_SERVER_OPEN_FILES_H_
#define ROPEWAY_SERVER_OPEN_FILES_H_

#include <cstdint>

namespace ropeway::server {

struct OpenFileLimit {
  int64_t before = 0;
  int64_t now = 0;
};

// Raises the soft limit to the hard one: many systems start programs with 1024, which as many idle
// connections use up. 0 where the system tells nothing.
OpenFileLimit RaiseOpenFileLimit();

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OPEN_FILES_H_
