#include "server/obs/http_connection.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ropeway::server {
namespace {

constexpr absl::Duration kRequestPatience = absl::Seconds(5);
constexpr absl::Duration kAnswerPatience = absl::Seconds(10);
constexpr absl::Duration kClosingPatience = absl::Seconds(1);
constexpr size_t kPartBytes = 4096;

// As gRPC writes it.
std::string PeerOf(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getpeername(socket, plain, &size) != 0 ||
      getnameinfo(plain, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "unknown";
  return address.ss_family == AF_INET6 ? absl::StrCat("ipv6:[", host, "]:", port)
                                       : absl::StrCat("ipv4:", host, ":", port);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

HttpConnection::HttpConnection(int socket, absl::Time now)
    : socket_(socket), deadline_(now + kRequestPatience) {}

HttpConnection::~HttpConnection() { close(socket_); }

short HttpConnection::events() const { return state_ == State::kWriting ? POLLOUT : POLLIN; }

bool HttpConnection::Advance(const HttpPage& page, absl::Time now) {
  switch (state_) {
    case State::kReading:
      return Read(page, now);
    case State::kWriting:
      return Write(now);
    case State::kClosing:
      return Discard();
  }
  return false;
}

bool HttpConnection::Read(const HttpPage& page, absl::Time now) {
  char part[kPartBytes];
  const ssize_t count = recv(socket_, part, sizeof part, 0);
  if (count < 0) return WouldBlock();
  if (count == 0) return false;
  received_.append(part, static_cast<size_t>(count));
  std::optional<std::string> answer = AnswerHttp(received_, page, page.guard ? PeerOf(socket_) : "");
  if (!answer) return true;
  answer_ = *std::move(answer);
  state_ = State::kWriting;
  deadline_ = now + kAnswerPatience;
  return Write(now);
}

bool HttpConnection::Write(absl::Time now) {
  while (written_ < answer_.size()) {
    const ssize_t count = send(socket_, answer_.data() + written_, answer_.size() - written_, MSG_NOSIGNAL);
    if (count < 0) return WouldBlock();
    written_ += static_cast<size_t>(count);
  }
  // Closing with bytes unread would reset the connection, and take the answer from the client.
  shutdown(socket_, SHUT_WR);
  state_ = State::kClosing;
  deadline_ = now + kClosingPatience;
  return true;
}

bool HttpConnection::Discard() const {
  char part[kPartBytes];
  const ssize_t count = recv(socket_, part, sizeof part, 0);
  return count > 0 || (count < 0 && WouldBlock());
}

}  // namespace ropeway::server
