// How many connections there are, and were refused.
#ifndef ROPEWAY_SERVER_NET_CONNECTION_COUNTS_H_
#define ROPEWAY_SERVER_NET_CONNECTION_COUNTS_H_

#include <cstdint>

namespace ropeway::server {

// Of one acceptor, now and since it began.
struct ConnectionCounts {
  int64_t open = 0;  // handed on, and not closed yet, as of the last second
  int64_t half_open = 0;
  int64_t handshakes = 0;
  // Refused or closed, by what was reached.
  int64_t over_connections = 0, over_descriptors = 0, over_half_open = 0, over_handshakes = 0, timed_out = 0;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_CONNECTION_COUNTS_H_
