#include "server/net/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ropeway::server {
namespace {

// How long nothing is accepted where there is no file descriptor left.
constexpr int kPauseMs = 100;

// What is kept for metrics, logs, libraries and threads.
constexpr int64_t kMinReserved = 8;
constexpr int64_t kMaxReserved = 128;
constexpr int64_t kReservedPart = 8;

enum class Fault { kNone, kConnection, kDescriptors, kListener };

// Errors of the network come with the connection that they befell.
Fault FaultOf(int error) {
  switch (error) {
    case EAGAIN:
      return Fault::kNone;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return Fault::kDescriptors;
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
      return Fault::kListener;
    default:
      return Fault::kConnection;
  }
}

int64_t OpenFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return INT64_MAX;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
}

}  // namespace

int MaxConnectionDescriptor(int64_t open_files) {
  const int64_t reserved = std::clamp(open_files / kReservedPart, kMinReserved, kMaxReserved);
  return static_cast<int>(std::clamp<int64_t>(open_files - reserved, 1, INT32_MAX));
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Start(Listener listener, const Options& options,
                                                          Handler handler) {
  ROPEWAY_CHECK(options.max_descriptor >= 0 && handler.on_connection && handler.on_trouble);
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return absl::ErrnoToStatus(errno, "cannot accept connections");
  return absl::WrapUnique(new Acceptor(std::move(listener), wake, options, std::move(handler)));
}

Acceptor::Acceptor(Listener listener, int wake, const Options& options, Handler handler)
    : listener_(std::move(listener)),
      wake_(wake),
      max_descriptor_(options.max_descriptor > 0 ? options.max_descriptor
                                                 : MaxConnectionDescriptor(OpenFileLimit())),
      handler_(std::move(handler)),
      thread_([this] { Run(); }) {}

Acceptor::~Acceptor() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
  thread_.join();
  close(wake_);
}

void Acceptor::Run() {
  std::vector<pollfd> polled = {{.fd = wake_, .events = POLLIN}};
  for (const int listening : listener_.sockets()) polled.push_back({.fd = listening});
  while (true) {
    for (size_t i = 1; i < polled.size(); ++i)
      polled[i].events = static_cast<short>(out_of_descriptors_ ? 0 : POLLIN);
    const int ready = poll(polled.data(), polled.size(), out_of_descriptors_ ? kPauseMs : -1);
    out_of_descriptors_ = false;
    if (ready < 0) continue;  // EINTR, or too little memory
    if (polled[0].revents != 0) return;
    for (size_t i = 1; i < polled.size(); ++i)
      if (polled[i].revents != 0 && !AcceptAll(polled[i].fd)) return;
  }
}

// False where the listener is broken.
bool Acceptor::AcceptAll(int listening) {
  while (true) {
    const int connection = accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection >= 0) {
      if (!Take(connection)) return true;
      continue;
    }
    const int error = errno;
    switch (FaultOf(error)) {
      case Fault::kNone:
        return true;
      case Fault::kConnection:
        continue;
      case Fault::kDescriptors:
        out_of_descriptors_ = true;
        handler_.on_trouble(absl::ResourceExhaustedError(
            absl::StrCat("no connection can be accepted now: ", absl::ErrnoToStatus(error, "").message())));
        return true;
      case Fault::kListener:
        handler_.on_trouble(absl::InternalError(
            absl::StrCat("the listener is broken: ", absl::ErrnoToStatus(error, "").message())));
        return false;
    }
  }
}

// False where others have to be served before more are accepted.
bool Acceptor::Take(int connection) {
  if (connection >= max_descriptor_) {
    close(connection);
    handler_.on_trouble(absl::ResourceExhaustedError(
        absl::StrCat("a connection was refused: ", max_descriptor_, " files and connections are open")));
    return false;
  }
  const int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  handler_.on_connection(connection);
  return true;
}

}  // namespace ropeway::server
