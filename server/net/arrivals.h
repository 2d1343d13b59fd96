// Connections that are not worth anything yet: those whose clients have not said their first words ("half open"),
// and, with TLS, those whose handshake is under way.
//
// Both are bounded in number and time. Where there are too many, the oldest is closed for the newest: clients that
// mean it say their words at once, and are through before it is their turn; words that lie there already count.
// Until its first words are there, a connection costs two descriptors and nothing else. Not thread-safe; never
// waits.
#ifndef ROPEWAY_SERVER_NET_ARRIVALS_H_
#define ROPEWAY_SERVER_NET_ARRIVALS_H_

#include <sys/epoll.h>

#include <cstddef>
#include <functional>
#include <list>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace ropeway::server {

class Arrivals {
 public:
  struct Options {
    bool tls = false;
    size_t max_half_open = 512;
    size_t max_handshakes = 256;
    absl::Duration timeout = absl::Seconds(10);  // of each of the two
  };

  // Why a connection was closed.
  enum class Fault { kTooManyHalfOpen, kTooManyHandshakes, kTooManyConnections, kNoDescriptors, kTimeout };

  struct Handler {
    std::function<void(int connection)> on_first_words;  // owns the connection from now on
    std::function<void(Fault)> on_closed;
  };

  // `epoll` outlives the arrivals.
  Arrivals(int epoll, const Options& options, Handler handler);
  ~Arrivals();  // closes those that are half open

  // Takes a connection. False where there is no descriptor for it; then it is closed.
  bool Add(int connection, absl::Time now);

  // What epoll says; false where it is of none of these.
  bool OnEvent(const epoll_event& event, absl::Time now);

  // Closes those whose time is over.
  void CloseExpired(absl::Time now);
  absl::Time next_deadline() const;

  // Closes the half open one that is the oldest, to make room for `why`. False where there is none.
  bool CloseOldestHalfOpen(Fault why);

  size_t half_open() const { return half_open_.size(); }
  size_t handshakes() const { return handshakes_.size(); }

 private:
  // The oldest first, so that its deadline is the first.
  struct Arrival {
    int connection;  // -1: handed over
    int watch;       // its duplicate, which epoll watches, and which can be shut down whoever owns the other
    absl::Time deadline;
  };
  using List = std::list<Arrival>;

  bool LookAtWords(List::iterator arrival, bool is_last, absl::Time now);
  void Forget(List& list, List::iterator arrival);
  void Close(List& list, Fault why);  // the oldest

  const int epoll_;
  const Options options_;
  const Handler handler_;
  List half_open_, handshakes_;
  absl::flat_hash_map<int, List::iterator> by_watch_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_ARRIVALS_H_
