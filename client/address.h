// Addresses of servers, as gRPC reads them, and the HTTP proxies on the way: pure functions.
#ifndef ROPEWAY_CLIENT_ADDRESS_H_
#define ROPEWAY_CLIENT_ADDRESS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ropeway::client {

// OK for HOST:PORT, [IPV6]:PORT, and gRPC's "unix:PATH", "dns:...", "ipv4:..." and "ipv6:...";
// INVALID_ARGUMENT, which says what is wrong, for the rest.
absl::Status CheckAddress(absl::string_view address);

// The host of an address, or of an http URL, without brackets; empty for a Unix domain socket.
std::string HostOf(absl::string_view address);

// Whether the host is this machine, by its loopback interface.
bool IsLoopback(absl::string_view host);

struct Proxy {
  std::string variable;  // of the environment, that named it
  std::string url;

  // "HOST:PORT (variable)": without the password that the URL may have.
  std::string Description() const;
};

// The value of a variable of the environment; null where it is not set.
using Environment = std::function<const char*(const char* variable)>;

// The proxy to `host` by the first of `variables` that is not empty. None to a loopback interface or a Unix
// domain socket, and none where an entry of no_proxy (by commas; suffixes, or "*") fits.
std::optional<Proxy> FindProxy(absl::string_view host, const std::vector<const char*>& variables,
                               const Environment& environment);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_ADDRESS_H_
