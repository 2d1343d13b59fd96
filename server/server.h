// A whole server, put together from a Config: listening, model, engine, metrics, and the order in which they
// come and go.
//
//   Start   bind the ports (health: NOT_SERVING) → load the model → run the engine → health: SERVING
//   lost    the device that computes is gone, or no connection can be accepted any more: health: NOT_SERVING,
//           admit nothing; then Drain, and whoever runs the process starts a new one
//   Reload  certificates and keys are read again: when their files change, by an admin, or by SIGHUP
//   Drain   health: NOT_SERVING, admit nothing → wait for living requests, at most drain_timeout → abort
//           the rest
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_SERVER_H_
#define ROPEWAY_SERVER_SERVER_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "server/config/config.h"
#include "server/model_bundle.h"
#include "server/obs/log.h"

namespace ropeway::server {

class Server {
 public:
  // For whoever runs the server; called by threads that must not wait, each at most once, or null.
  struct Events {
    std::function<void()> on_lost;   // the device or the listener is lost
    std::function<void()> on_drain;  // an admin wants it drained, which has begun
  };

  // Serves when it returns. `config` is valid; `log` outlives the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, const Log& log,
                                                       const ModelLoader& load = LoadModel,
                                                       Events events = {});
  ~Server();  // drains without waiting

  int port() const;
  int metrics_port() const;  // 0 where no metrics are served
  int admin_port() const;    // 0 where no admin is listened to

  // Reads certificates and keys again now.
  void Reload();

  // Returns when no request lives and no call is open. The first call counts.
  void Drain(absl::Duration timeout);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_SERVER_H_
