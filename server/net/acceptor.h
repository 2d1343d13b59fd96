// Takes connections from a listener on a thread of its own, hands on those whose clients have said their first
// words, and goes on whatever becomes of one of them.
//
// Connections are bounded in number and by the file descriptors they use: one whose descriptor is at or above the
// limit is closed at once, so that there are some left for everything else. (Descriptors are given lowest first.)
// Those that are no use yet are bounded by themselves (arrivals.h). Thread-safe.
#ifndef ROPEWAY_SERVER_NET_ACCEPTOR_H_
#define ROPEWAY_SERVER_NET_ACCEPTOR_H_

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "server/net/arrivals.h"
#include "server/net/connection_counts.h"
#include "server/net/listener.h"
#include "server/net/open_connections.h"

namespace ropeway::server {

class Acceptor {
 public:
  // Called by the acceptor's thread.
  struct Handler {
    // Owns `connection`, which does not block, from now on.
    std::function<void(int connection)> on_connection;
    // RESOURCE_EXHAUSTED: a connection was closed, or has to wait, since a limit was reached.
    // INTERNAL: the listener is broken, and nothing is accepted any more.
    std::function<void(const absl::Status&)> on_trouble;
  };

  struct Options {
    // Exclusive. 0: the process's limit on open files, less what it needs beside its connections.
    int max_descriptor = 0;
    // That are open at a time; one more is closed at once.
    int64_t max_connections = 8192;
    Arrivals::Options arrivals = {};
  };

  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(Listener listener, const Options& options,
                                                         Handler handler);
  ~Acceptor();  // stops listening

  int port() const { return listener_.port(); }
  bool beyond_loopback() const { return listener_.beyond_loopback(); }
  ConnectionCounts counts() const;

 private:
  // What the acceptor's thread counts, for others to read.
  struct Counters {
    std::atomic<int64_t> open = 0, half_open = 0, handshakes = 0;
    std::atomic<int64_t> over_connections = 0, over_descriptors = 0, over_half_open = 0, over_handshakes = 0,
                         timed_out = 0;
  };

  Acceptor(Listener listener, int wake, int epoll, const Options& options, Handler handler);
  void Run();
  bool Wait();
  bool Handle(const epoll_event& event);
  bool IsListener(int descriptor) const;
  void Watch(bool listeners);
  bool AcceptSome(int listening);
  bool Take(int connection);
  bool HasRoom();
  void OnArrivalClosed(Arrivals::Fault fault);
  void LookForClosed(absl::Duration least_interval);
  void Refuse(std::atomic<int64_t>& counter, absl::string_view why);

  // Constant after construction.
  const Listener listener_;
  const int wake_;  // an eventfd that tells the thread to end
  const int epoll_;
  const int max_descriptor_;
  const Options options_;
  const Handler handler_;

  // The thread's own.
  std::unique_ptr<Arrivals> arrivals_;
  OpenConnections open_;
  const RealClock clock_{};
  absl::Time looked_ = absl::InfinitePast();  // for those that were closed
  absl::Time accept_after_ = absl::InfinitePast();
  bool watches_listeners_ = false;

  Counters counters_;
  std::thread thread_;
};

// What 0 stands for where `open_files` is the limit.
int MaxConnectionDescriptor(int64_t open_files);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_ACCEPTOR_H_
