// Serves /metrics over HTTP.
#ifndef ROPEWAY_SERVER_OBS_METRICS_SERVER_H_
#define ROPEWAY_SERVER_OBS_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"

namespace prometheus {
class Exposer;
}  // namespace prometheus

namespace ropeway::server {

// Thread-safe; serves until it is destroyed, which takes no longer than the scrapes under way.
class MetricsServer {
 public:
  // Listens at `address`, HOST:PORT; port 0 takes a free one. UNAVAILABLE where that cannot be. `metrics` is
  // kept.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::shared_ptr<prometheus::Collectable> metrics);
  ~MetricsServer();

  int port() const { return port_; }

 private:
  MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                std::shared_ptr<prometheus::Collectable> metrics, std::string host, int port);

  const std::shared_ptr<prometheus::Collectable> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  const std::string host_;
  const int port_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_METRICS_SERVER_H_
