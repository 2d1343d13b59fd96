// The gRPC server around a service: listening, health, reflection, shutdown.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_RPC_RPC_SERVER_H_
#define ROPEWAY_SERVER_RPC_RPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server.h"

namespace ropeway::server {

class RpcServer {
 public:
  struct Options {
    std::string address;  // HOST:PORT; port 0 takes a free one
    int64_t max_request_bytes = 8 << 20;
    // Of messages that have not come to their end, on all connections; streams beyond are reset with
    // RESOURCE_EXHAUSTED.
    int64_t max_message_memory = 256 << 20;
    // Calls of one connection. More wait at the client without an answer: to be larger than what the service
    // refuses.
    int32_t max_streams_per_connection = 1024;
  };

  // Listens. Health answers NOT_SERVING until SetServing(). UNAVAILABLE where it cannot listen, with
  // the reason. `service` outlives the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const Options& options, grpc::Service& service);

  int port() const { return port_; }
  void SetServing();
  void SetNotServing();  // for good

  // Takes no more calls, gives those that live `grace` to end, then cancels them. Returns when all are gone.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, int port) : server_(std::move(server)), port_(port) {}

  const std::unique_ptr<grpc::Server> server_;
  const int port_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_RPC_SERVER_H_
