// The health service grpc.health.v1, which may ask for a key as gRPC's own cannot.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_RPC_HEALTH_SERVICE_H_
#define ROPEWAY_SERVER_RPC_HEALTH_SERVICE_H_

#include <list>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "server/front/gate.h"

namespace ropeway::server {

inline constexpr char kHealthService[] = "grpc.health.v1.Health";

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  using Response = grpc::health::v1::HealthCheckResponse;

  // All of `services`, and the server as a whole, have one state: NOT_SERVING at first. Whoever asks needs what
  // `gate` takes for Access::kLook; null: nobody is asked. It outlives the service.
  HealthService(std::vector<std::string> services, const Gate* gate);

  // Of no effect after Shutdown().
  void SetServing(bool serving);
  // NOT_SERVING for good; watches end, since a server that goes waits for its calls.
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  Response* response) override;
  grpc::ServerWriteReactor<Response>* Watch(grpc::CallbackServerContext* context,
                                            const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using Watchers = std::list<Watcher*>;

  bool Knows(const std::string& service) const;
  void Tell() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Response::ServingStatus StateOf(bool known) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<std::string> services_;
  const Gate* const gate_;
  absl::Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  Watchers watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_HEALTH_SERVICE_H_
