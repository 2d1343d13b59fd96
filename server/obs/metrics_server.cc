#include "server/obs/metrics_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <list>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/status_macros.h"
#include "prometheus/text_serializer.h"
#include "server/obs/http_connection.h"

namespace ropeway::server {
namespace {

constexpr size_t kMaxConnections = 128;
constexpr int kAcceptFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
// How long nothing is accepted where the process has no file descriptor left.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

// The connections and the loop that serves them.
class HttpLoop {
 public:
  HttpLoop(const std::vector<int>& listening, int wake, HttpPage page)
      : listening_(listening), wake_(wake), page_(std::move(page)), spare_(OpenSpare()) {}
  ~HttpLoop() {
    if (spare_ >= 0) close(spare_);
  }
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  // Returns when the eventfd is written to.
  void Run() {
    while (Wait()) {
      const absl::Time now = clock_.Now();
      AdvanceAll(now);
      for (size_t i = 0; i < listening_.size() && now >= accept_after_; ++i)
        if (polled_[1 + i].revents != 0) Accept(listening_[i], now);
    }
  }

 private:
  // Polls the eventfd, the sockets that listen, and the connections, in this order. False at the end.
  bool Wait() {
    absl::Time until = absl::InfiniteFuture();
    const bool paused = clock_.Now() < accept_after_;
    if (paused) until = accept_after_;
    polled_ = {{.fd = wake_, .events = POLLIN}};
    for (const int listening : listening_)
      polled_.push_back({.fd = listening, .events = static_cast<short>(paused ? 0 : POLLIN)});
    for (const HttpConnection& connection : connections_) {
      polled_.push_back({.fd = connection.socket(), .events = connection.events()});
      until = std::min(until, connection.deadline());
    }
    const timespec patience = absl::ToTimespec(std::max(until - clock_.Now(), absl::ZeroDuration()));
    if (ppoll(polled_.data(), polled_.size(), until == absl::InfiniteFuture() ? nullptr : &patience,
              nullptr) < 0) {
      for (pollfd& polled : polled_) polled.revents = 0;
    }
    return polled_[0].revents == 0;
  }

  void AdvanceAll(absl::Time now) {
    size_t place = 1 + listening_.size();
    for (auto connection = connections_.begin(); connection != connections_.end(); ++place) {
      const bool is_ready = polled_[place].revents != 0;
      const bool lives = now < connection->deadline() && (!is_ready || connection->Advance(page_, now));
      connection = lives ? std::next(connection) : connections_.erase(connection);
    }
    if (spare_ < 0) spare_ = OpenSpare();
  }

  // Where the process has no file descriptor left, the spare one makes room for a scrape.
  void Accept(int listening, absl::Time now) {
    int accepted = accept4(listening, nullptr, nullptr, kAcceptFlags);
    if (accepted < 0 && IsExhausted(errno) && spare_ >= 0) {
      close(std::exchange(spare_, -1));
      accepted = accept4(listening, nullptr, nullptr, kAcceptFlags);
    }
    if (accepted >= 0) {
      if (connections_.size() >= kMaxConnections) CloseOldest();
      connections_.emplace_back(accepted, now);
    } else if (IsExhausted(errno)) {
      if (!connections_.empty()) CloseOldest();
      accept_after_ = now + kAcceptPause;
    }
  }

  static int OpenSpare() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
  static bool IsExhausted(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
  }

  // One whose request has not come, or else the oldest.
  void CloseOldest() {
    const auto reading = std::find_if(connections_.begin(), connections_.end(),
                                      [](const HttpConnection& c) { return c.is_reading(); });
    connections_.erase(reading == connections_.end() ? connections_.begin() : reading);
  }

  const std::vector<int>& listening_;
  const int wake_;
  const HttpPage page_;
  std::list<HttpConnection> connections_;  // oldest first
  std::vector<pollfd> polled_;
  const RealClock clock_{};
  absl::Time accept_after_ = absl::InfinitePast();
  int spare_;  // a file descriptor that is held for a time of need; -1 while it is used
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& address, std::shared_ptr<const prometheus::Collectable> metrics, Guard guard) {
  ASSIGN_OR_RETURN(Listener listener, Listener::Listen(address));
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return absl::ErrnoToStatus(errno, "cannot serve metrics");
  return absl::WrapUnique(new MetricsServer(std::move(listener), wake, std::move(metrics), std::move(guard)));
}

MetricsServer::MetricsServer(Listener listener, int wake,
                             std::shared_ptr<const prometheus::Collectable> metrics, Guard guard)
    : listener_(std::move(listener)),
      wake_(wake),
      metrics_(std::move(metrics)),
      guard_(std::move(guard)),
      thread_([this] { Run(); }) {}

void MetricsServer::Run() {
  const auto scrape = [this] { return prometheus::TextSerializer().Serialize(metrics_->Collect()); };
  HttpLoop(listener_.sockets(), wake_, {.metrics = scrape, .guard = guard_}).Run();
}

MetricsServer::~MetricsServer() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
  thread_.join();
  close(wake_);
}

}  // namespace ropeway::server
