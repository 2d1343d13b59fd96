#include "server/net/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/net/address.h"

namespace ropeway::server {
namespace {

// Bursts of clients wait here.
constexpr int kBacklog = SOMAXCONN;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::Status CannotListen(absl::string_view address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot listen at ", address, ": ", why));
}

std::string Words(int error) {
  switch (error) {
    case EADDRINUSE:
      return "address in use";
    case EADDRNOTAVAIL:
      return "not an address of this machine";
    case EAFNOSUPPORT:
      return "this machine does not speak its protocol (IPv6?)";
    case EACCES:
      return "a port below 1024 needs privileges";
    default:
      return std::strerror(error);
  }
}

absl::StatusOr<AddressList> Resolve(absl::string_view text, const Address& address) {
  const addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error == 0) return AddressList(found, &freeaddrinfo);
  return CannotListen(text,
                      absl::StrCat("the host \"", address.host, "\" cannot be resolved (",
                                   error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error), ")"));
}

int PortOf(const sockaddr* address) {
  return ntohs(address->sa_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(address)->sin6_port
                                              : reinterpret_cast<const sockaddr_in*>(address)->sin_port);
}

void SetPort(sockaddr* address, int port) {
  (address->sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(address)->sin6_port
                                  : reinterpret_cast<sockaddr_in*>(address)->sin_port) =
      htons(static_cast<uint16_t>(port));
}

bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET6)
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  constexpr uint32_t kLoopbackNet = 127;
  return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24 == kLoopbackNet;
}

// The socket, or the negative error.
int ListenAt(const addrinfo& address) {
  const int listening =
      socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol);
  if (listening < 0) return -errno;
  const int on = 1, off = 0;
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) setsockopt(listening, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(listening, address.ai_addr, address.ai_addrlen) == 0 && listen(listening, kBacklog) == 0)
    return listening;
  const int error = errno;
  close(listening);
  return -error;
}

int PortOfSocket(int listening) {
  sockaddr_storage bound = {};
  socklen_t size = sizeof bound;
  if (getsockname(listening, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return PortOf(reinterpret_cast<const sockaddr*>(&bound));
}

}  // namespace

// A name may have addresses that the machine lacks ("localhost" has ::1 where IPv6 is off): one is enough.
absl::StatusOr<Listener> Listener::Listen(absl::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok()) return CannotListen(text, address.status().message());
  ASSIGN_OR_RETURN(const AddressList found, Resolve(text, *address));
  Listener listener;
  int last_error = EADDRNOTAVAIL;
  for (addrinfo* place = found.get(); place != nullptr; place = place->ai_next) {
    if (listener.port_ != 0) SetPort(place->ai_addr, listener.port_);
    const int listening = ListenAt(*place);
    if (listening == -EADDRNOTAVAIL || listening == -EAFNOSUPPORT) {
      last_error = -listening;
      continue;
    }
    if (listening < 0) return CannotListen(text, Words(-listening));
    listener.sockets_.push_back(listening);
    listener.port_ = PortOfSocket(listening);
    listener.beyond_loopback_ = listener.beyond_loopback_ || !IsLoopback(place->ai_addr);
  }
  if (listener.sockets_.empty()) return CannotListen(text, Words(last_error));
  return listener;
}

Listener::~Listener() {
  for (const int listening : sockets_) close(listening);
}

}  // namespace ropeway::server
