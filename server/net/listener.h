// A TCP socket that listens, or clear words about why it cannot.
#ifndef ROPEWAY_SERVER_NET_LISTENER_H_
#define ROPEWAY_SERVER_NET_LISTENER_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ropeway::server {

// Closes its sockets when destroyed. Movable, not copyable.
class Listener {
 public:
  // Listens at all addresses of the host of `address`, HOST:PORT, at one port; port 0 takes a free one.
  // "[::]" takes IPv4, too. Sockets do not block and are not inherited. UNAVAILABLE with the address and the
  // reason: a host that cannot be resolved, a port in use, an address that is not this machine's, ...
  static absl::StatusOr<Listener> Listen(absl::string_view address);

  Listener(Listener&& other) noexcept = default;
  Listener& operator=(Listener&& other) noexcept {
    std::swap(sockets_, other.sockets_);
    std::swap(port_, other.port_);
    std::swap(beyond_loopback_, other.beyond_loopback_);
    return *this;
  }
  ~Listener();

  const std::vector<int>& sockets() const { return sockets_; }
  int port() const { return port_; }
  // Whether others than this machine may reach it.
  bool beyond_loopback() const { return beyond_loopback_; }

 private:
  Listener() = default;

  std::vector<int> sockets_;
  int port_ = 0;
  bool beyond_loopback_ = false;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_LISTENER_H_
