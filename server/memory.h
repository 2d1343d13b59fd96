// How much memory this process may still take.
#ifndef ROPEWAY_SERVER_MEMORY_H_
#define ROPEWAY_SERVER_MEMORY_H_

#include <cstdint>

namespace ropeway::server {

// Bytes that are free on this machine, or in the control group (container) that the process runs in,
// whichever is less.
int64_t AvailableMemoryBytes();

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_MEMORY_H_
