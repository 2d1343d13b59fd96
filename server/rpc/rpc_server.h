// The gRPC server around a service: listening, health, reflection, shutdown.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_RPC_RPC_SERVER_H_
#define ROPEWAY_SERVER_RPC_RPC_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "server/net/acceptor.h"

namespace ropeway::server {

class RpcServer {
 public:
  static constexpr absl::Duration kPromisedPingInterval = absl::Seconds(5);

  struct Options {
    std::string address;                                   // HOST:PORT; port 0 takes a free one
    std::shared_ptr<grpc::ServerCredentials> credentials;  // null: no TLS
    // Connections are closed at once that would have this file descriptor or a larger one. 0: chosen from the
    // process's limit on open files.
    int max_descriptor = 0;
    // Called by a thread of its own with RESOURCE_EXHAUSTED where a connection is refused or has to wait, and
    // with INTERNAL where nothing is accepted any more.
    std::function<void(const absl::Status&)> on_trouble = [](const absl::Status&) {};
    // Of messages that have not come to their end, on all connections; streams beyond are reset with
    // RESOURCE_EXHAUSTED. Nothing else bounds a message here: the service says what is too large.
    int64_t max_message_memory = 256 << 20;
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
  };

  // Listens. Health answers NOT_SERVING until SetServing(). UNAVAILABLE where it cannot listen, with
  // the reason. `service` outlives the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const Options& options, grpc::Service& service);

  int port() const { return port_; }
  bool beyond_loopback() const { return beyond_loopback_; }  // others than this machine may reach it
  void SetServing();
  void SetNotServing();  // for good

  // Takes no more calls, gives those that live `grace` to end, then cancels them. Returns when all are gone.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(std::shared_ptr<grpc::ServerCredentials> credentials,
            std::vector<std::unique_ptr<grpc::Service>> reflection, std::unique_ptr<grpc::Server> server,
            std::unique_ptr<Acceptor> acceptor)
      : credentials_(std::move(credentials)),
        reflection_(std::move(reflection)),
        server_(std::move(server)),
        port_(acceptor->port()),
        beyond_loopback_(acceptor->beyond_loopback()),
        acceptor_(std::move(acceptor)) {}

  // These outlive the server.
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  const std::vector<std::unique_ptr<grpc::Service>> reflection_;
  const std::unique_ptr<grpc::Server> server_;
  const int port_;
  const bool beyond_loopback_;
  absl::Mutex mutex_;
  std::unique_ptr<Acceptor> acceptor_ ABSL_GUARDED_BY(mutex_);  // null after Shutdown()
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_RPC_SERVER_H_
