// HOST:PORT, where a server listens.
#ifndef ROPEWAY_SERVER_NET_ADDRESS_H_
#define ROPEWAY_SERVER_NET_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ropeway::server {

struct Address {
  std::string host;  // a name or a number, an IPv6 address without its brackets
  int port = 0;      // [0, 65535]
};

// Reads "127.0.0.1:80", "localhost:0", "[::1]:80". INVALID_ARGUMENT with what is wrong: a scheme, no port,
// ...
absl::StatusOr<Address> ParseAddress(absl::string_view text);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_ADDRESS_H_
