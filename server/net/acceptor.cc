#include "server/net/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
constexpr absl::Duration kPause = absl::Milliseconds(100);

// How often it is looked which connections were closed.
constexpr absl::Duration kLookInterval = absl::Seconds(1);
constexpr absl::Duration kLookIntervalWhenFull = absl::Milliseconds(100);

constexpr size_t kEventsAtOnce = 64;
// Fewer than events, so that those who were accepted are looked at sooner than more are accepted.
constexpr size_t kAcceptsAtOnce = 32;
constexpr int64_t kMaxPatienceMs = 1'000'000;

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
  const int epoll = wake < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, "cannot accept connections");
    if (wake >= 0) close(wake);
    return status;
  }
  return absl::WrapUnique(new Acceptor(std::move(listener), wake, epoll, options, std::move(handler)));
}

Acceptor::Acceptor(Listener listener, int wake, int epoll, const Options& options, Handler handler)
    : listener_(std::move(listener)),
      wake_(wake),
      epoll_(epoll),
      max_descriptor_(options.max_descriptor > 0 ? options.max_descriptor
                                                 : MaxConnectionDescriptor(OpenFileLimit())),
      options_(options),
      handler_(std::move(handler)),
      arrivals_(std::make_unique<Arrivals>(
          epoll, options.arrivals,
          Arrivals::Handler{.on_first_words =
                                [this](int connection) {
                                  open_.Add(connection);
                                  handler_.on_connection(connection);
                                },
                            .on_closed = [this](Arrivals::Fault fault) { OnArrivalClosed(fault); }})),
      thread_([this] { Run(); }) {}

Acceptor::~Acceptor() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
  thread_.join();
  close(wake_);
  arrivals_ = nullptr;  // leaves epoll
  close(epoll_);
}

ConnectionCounts Acceptor::counts() const {
  return {.open = counters_.open,
          .half_open = counters_.half_open,
          .handshakes = counters_.handshakes,
          .over_connections = counters_.over_connections,
          .over_descriptors = counters_.over_descriptors,
          .over_half_open = counters_.over_half_open,
          .over_handshakes = counters_.over_handshakes,
          .timed_out = counters_.timed_out};
}

void Acceptor::Run() {
  epoll_event event = {.events = EPOLLIN, .data = {.fd = wake_}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
  while (Wait()) {
    const absl::Time now = clock_.Now();
    arrivals_->CloseExpired(now);
    if (now - looked_ >= kLookInterval) LookForClosed(kLookInterval);
    counters_.open = static_cast<int64_t>(open_.count());
    counters_.half_open = static_cast<int64_t>(arrivals_->half_open());
    counters_.handshakes = static_cast<int64_t>(arrivals_->handshakes());
  }
}

// Waits and handles what happens. False at the end.
bool Acceptor::Wait() {
  const absl::Time now = clock_.Now();
  Watch(now >= accept_after_);
  absl::Time until = arrivals_->next_deadline();
  if (!watches_listeners_) until = std::min(until, accept_after_);
  if (open_.count() > 0) until = std::min(until, now + kLookInterval);
  std::array<epoll_event, kEventsAtOnce> events;
  const int patience_ms = until == absl::InfiniteFuture()
                              ? -1
                              : static_cast<int>(std::clamp<int64_t>(
                                    absl::ToInt64Milliseconds(until - now) + 1, 0, kMaxPatienceMs));
  const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience_ms);
  // Those who are there make room before others come.
  const auto begin = events.begin(), end = begin + std::max(ready, 0);
  std::partition(begin, end, [this](const epoll_event& event) { return !IsListener(event.data.fd); });
  return std::all_of(begin, end, [this](const epoll_event& event) { return Handle(event); });
}

bool Acceptor::Handle(const epoll_event& event) {
  if (event.data.fd == wake_) return false;
  if (IsListener(event.data.fd)) return AcceptSome(event.data.fd);
  arrivals_->OnEvent(event, clock_.Now());
  return true;
}

bool Acceptor::IsListener(int descriptor) const {
  const std::vector<int>& sockets = listener_.sockets();
  return std::find(sockets.begin(), sockets.end(), descriptor) != sockets.end();
}

// Whether connections that wait are told of.
void Acceptor::Watch(bool listeners) {
  if (listeners == watches_listeners_) return;
  watches_listeners_ = listeners;
  for (const int listening : listener_.sockets()) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = listening}};
    epoll_ctl(epoll_, listeners ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listening, &event);
  }
}

// False where the listener is broken. Epoll tells again of those who wait still.
bool Acceptor::AcceptSome(int listening) {
  for (size_t i = 0; i < kAcceptsAtOnce; ++i) {
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
        if (arrivals_->CloseOldestHalfOpen(Arrivals::Fault::kNoDescriptors)) return true;
        accept_after_ = clock_.Now() + kPause;
        Refuse(counters_.over_descriptors,
               absl::StrCat("no connection can be accepted now: ", absl::ErrnoToStatus(error, "").message()));
        return true;
      case Fault::kListener:
        handler_.on_trouble(absl::InternalError(
            absl::StrCat("the listener is broken: ", absl::ErrnoToStatus(error, "").message())));
        return false;
    }
  }
  return true;
}

// False where others have to be served before more are accepted.
bool Acceptor::Take(int connection) {
  if (connection >= max_descriptor_) {
    close(connection);
    Refuse(counters_.over_descriptors,
           absl::StrCat("a connection was refused: ", max_descriptor_, " files and connections are open"));
    arrivals_->CloseOldestHalfOpen(Arrivals::Fault::kNoDescriptors);
    return false;
  }
  if (!HasRoom()) {
    close(connection);
    Refuse(counters_.over_connections, absl::StrCat("a connection was refused: ", options_.max_connections,
                                                    " are open (--max_connections)"));
    return false;
  }
  const int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!arrivals_->Add(connection, clock_.Now()))
    Refuse(counters_.over_descriptors, "a connection was refused: there is no file descriptor to watch it");
  return true;
}

bool Acceptor::HasRoom() {
  const auto room = [this] {
    return static_cast<int64_t>(open_.count() + arrivals_->half_open()) < options_.max_connections;
  };
  if (room()) return true;
  LookForClosed(kLookIntervalWhenFull);
  return room() || arrivals_->CloseOldestHalfOpen(Arrivals::Fault::kTooManyConnections);
}

void Acceptor::OnArrivalClosed(Arrivals::Fault fault) {
  switch (fault) {
    case Arrivals::Fault::kTooManyHalfOpen:
      return Refuse(counters_.over_half_open,
                    "a half-open connection was closed for a newer one (--max_half_open)");
    case Arrivals::Fault::kTooManyHandshakes:
      return Refuse(counters_.over_handshakes, "a handshake was ended for a newer one (--max_handshakes)");
    case Arrivals::Fault::kTooManyConnections:
      return Refuse(counters_.over_connections,
                    "a half-open connection was closed for a newer one (--max_connections)");
    case Arrivals::Fault::kNoDescriptors:
      return Refuse(counters_.over_descriptors,
                    "a half-open connection was closed: there is no file descriptor left");
    case Arrivals::Fault::kTimeout:
      return Refuse(counters_.timed_out,
                    "a client did not come to the end of its handshake (--handshake_timeout)");
  }
}

void Acceptor::LookForClosed(absl::Duration least_interval) {
  const absl::Time now = clock_.Now();
  if (now - looked_ < least_interval) return;
  looked_ = now;
  open_.ForgetClosed();
}

void Acceptor::Refuse(std::atomic<int64_t>& counter, absl::string_view why) {
  ++counter;
  handler_.on_trouble(absl::ResourceExhaustedError(why));
}

}  // namespace ropeway::server
