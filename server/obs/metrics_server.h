// Serves /metrics over HTTP/1.
//
// One thread that never waits for a single client: whoever does not come to the end of a request, or does not
// read the answer, is closed after some seconds, and the oldest of them where there are too many. So a scrape
// is answered at once, whatever others do.
#ifndef ROPEWAY_SERVER_OBS_METRICS_SERVER_H_
#define ROPEWAY_SERVER_OBS_METRICS_SERVER_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "server/net/listener.h"
#include "server/obs/http_answer.h"

namespace ropeway::server {

// Thread-safe; serves until it is destroyed.
class MetricsServer {
 public:
  // Listens at `address`, HOST:PORT; port 0 takes a free one. UNAVAILABLE where that cannot be. `metrics` is
  // kept; `guard` says who may see them, as that of HttpPage.
  using Guard = decltype(HttpPage::guard);
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::shared_ptr<const prometheus::Collectable> metrics,
      Guard guard = nullptr);
  ~MetricsServer();

  int port() const { return listener_.port(); }
  bool beyond_loopback() const { return listener_.beyond_loopback(); }

 private:
  MetricsServer(Listener listener, int wake, std::shared_ptr<const prometheus::Collectable> metrics,
                Guard guard);
  void Run();

  const Listener listener_;
  const int wake_;  // an eventfd that tells the thread to end
  const std::shared_ptr<const prometheus::Collectable> metrics_;
  const Guard guard_;
  std::thread thread_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_METRICS_SERVER_H_
