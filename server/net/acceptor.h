// Takes connections from a listener on a thread of its own, and goes on whatever becomes of one of them.
//
// Connections are bounded by the file descriptors they use: one whose descriptor is at or above the limit is
// closed at once, so that there are some left for everything else. (Descriptors are given lowest first.)
// Thread-safe.
#ifndef ROPEWAY_SERVER_NET_ACCEPTOR_H_
#define ROPEWAY_SERVER_NET_ACCEPTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/net/listener.h"

namespace ropeway::server {

class Acceptor {
 public:
  // Called by the acceptor's thread.
  struct Handler {
    // Owns `connection`, which does not block, from now on.
    std::function<void(int connection)> on_connection;
    // RESOURCE_EXHAUSTED: a connection was closed at once, or has to wait, for want of descriptors or memory.
    // INTERNAL: the listener is broken, and nothing is accepted any more.
    std::function<void(const absl::Status&)> on_trouble;
  };

  struct Options {
    // Exclusive. 0: the process's limit on open files, less what it needs beside its connections.
    int max_descriptor = 0;
  };

  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(Listener listener, const Options& options,
                                                         Handler handler);
  ~Acceptor();  // stops listening

  int port() const { return listener_.port(); }
  bool beyond_loopback() const { return listener_.beyond_loopback(); }

 private:
  Acceptor(Listener listener, int wake, const Options& options, Handler handler);
  void Run();
  bool AcceptAll(int listening);
  bool Take(int connection);

  const Listener listener_;
  const int wake_;  // an eventfd that tells the thread to end
  const int max_descriptor_;
  const Handler handler_;
  bool out_of_descriptors_ = false;  // so that nothing is accepted for a moment
  std::thread thread_;
};

// What 0 stands for where `open_files` is the limit.
int MaxConnectionDescriptor(int64_t open_files);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_ACCEPTOR_H_
