// The gRPC server around a service: listening, health, reflection, shutdown.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_RPC_RPC_SERVER_H_
#define ROPEWAY_SERVER_RPC_RPC_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "server/front/gate.h"
#include "server/net/acceptor.h"

namespace ropeway::server {

class RpcServer {
 public:
  static constexpr absl::Duration kPromisedPingInterval = absl::Seconds(5);

  struct Options {
    std::string address;                                   // HOST:PORT; port 0 takes a free one
    std::shared_ptr<grpc::ServerCredentials> credentials;  // null: no TLS
    std::string service_name = "ropeway.v1.Ropeway";       // what health and reflection call the service
    const Gate* gate = nullptr;     // who may ask reflection, and for what does not exist; null: everybody
    bool health_needs_key = false;  // whether the gate keeps health, too
    // What connections may come, and how long their first words may take; `arrivals.tls` is set here.
    Acceptor::Options connections = {};
    // Called by a thread of its own with RESOURCE_EXHAUSTED where a connection is refused or has to wait, and
    // with INTERNAL where nothing is accepted any more.
    std::function<void(const absl::Status&)> on_trouble = [](const absl::Status&) {};
    // Of messages that have not come to their end, on all connections; streams beyond are reset with
    // RESOURCE_EXHAUSTED. Nothing else bounds a message here: the service says what is too large.
    int64_t max_message_memory = 256 << 20;
    // Of one message; 0: the service says what is too large.
    int64_t max_message_bytes = 0;
    // Calls of one connection. More wait at the client without an answer: to be larger than what the service
    // refuses.
    int32_t max_streams_per_connection = 1024;
    // Clients may ping this often, with calls or without; three pings too early end a connection. A second is
    // left for pings that were held up on their way.
    absl::Duration min_ping_interval = kPromisedPingInterval - absl::Seconds(1);
    // How often clients are pinged that say nothing, and how long they may take to answer: those that
    // vanished without a word lose their calls.
    absl::Duration ping_interval = absl::Minutes(1);
    absl::Duration ping_timeout = absl::Seconds(20);
    // How long a connection may have no call.
    absl::Duration idle_timeout = absl::InfiniteDuration();
    // Of a call's metadata.
    int32_t max_header_bytes = 8192;
  };

  // Listens. Health answers NOT_SERVING until SetServing(). UNAVAILABLE where it cannot listen, with
  // the reason. `service` and the gate outlive the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const Options& options, grpc::Service& service);

  int port() const { return port_; }
  ConnectionCounts connections() const;                      // none after Shutdown()
  bool beyond_loopback() const { return beyond_loopback_; }  // others than this machine may reach it
  void SetServing();
  void SetNotServing();  // for good

  ~RpcServer();

  // Takes no more calls, gives those that live `grace` to end, then cancels them. Returns when all are gone.
  void Shutdown(absl::Duration grace);

 private:
  struct OwnServices;  // beside the one that is given: health, reflection, and what does not exist

  RpcServer(std::shared_ptr<grpc::ServerCredentials> credentials, std::unique_ptr<OwnServices> services,
            std::unique_ptr<grpc::Server> server, std::unique_ptr<Acceptor> acceptor);

  // These outlive the server.
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  const std::unique_ptr<OwnServices> services_;
  const std::unique_ptr<grpc::Server> server_;
  const int port_;
  const bool beyond_loopback_;
  mutable absl::Mutex mutex_;
  std::unique_ptr<Acceptor> acceptor_ ABSL_GUARDED_BY(mutex_);  // null after Shutdown()
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_RPC_SERVER_H_
