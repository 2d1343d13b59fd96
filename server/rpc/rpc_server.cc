#include "server/rpc/rpc_server.h"

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status_macros.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/net/acceptor.h"
#include "server/net/listener.h"
#include "server/rpc/reflection.h"

namespace ropeway::server {
namespace {

// Health is asked for the server as a whole ("") or for the service.
constexpr const char* kHealthNames[] = {"", v1::Ropeway::service_full_name()};

// What reflection tells.
constexpr const char* kServices[] = {v1::Ropeway::service_full_name(), "grpc.health.v1.Health",
                                     kReflectionService, kOldReflectionService};

int Milliseconds(absl::Duration duration) { return static_cast<int>(absl::ToInt64Milliseconds(duration)); }

void SetPings(const RpcServer::Options& options, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(options.min_ping_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.ping_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.ping_timeout));
}

}  // namespace

// gRPC's own listener is given up for good at the first connection that finds no file descriptor (in 1.51, by
// any error of accept() but two), without a word; so the connections are accepted here and handed over.
absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options, grpc::Service& service) {
  ASSIGN_OR_RETURN(Listener listener, Listener::Listen(options.address));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      options.credentials == nullptr ? grpc::InsecureServerCredentials() : options.credentials;
  const std::shared_ptr<grpc::experimental::ExternalConnectionAcceptor> connections =
      builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.SetMaxReceiveMessageSize(-1);
  SetPings(options, builder);
  builder.SetResourceQuota(
      grpc::ResourceQuota("ropeway").Resize(static_cast<size_t>(options.max_message_memory)));
  builder.RegisterService(&service);
  std::vector<std::unique_ptr<grpc::Service>> reflection;
  for (const char* name : {kReflectionService, kOldReflectionService}) {
    reflection.push_back(MakeReflectionService(name, {std::begin(kServices), std::end(kServices)}));
    builder.RegisterService(reflection.back().get());
  }
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC does not start");
  for (const char* name : kHealthNames) server->GetHealthCheckService()->SetServingStatus(name, false);
  const auto hand_over = [connections](int connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.fd = connection;
    connections->HandleNewConnection(&parameters);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<Acceptor> acceptor,
                   Acceptor::Start(std::move(listener), {.max_descriptor = options.max_descriptor},
                                   {.on_connection = hand_over, .on_trouble = options.on_trouble}));
  return absl::WrapUnique(
      new RpcServer(credentials, std::move(reflection), std::move(server), std::move(acceptor)));
}

void RpcServer::SetServing() {
  for (const char* name : kHealthNames) server_->GetHealthCheckService()->SetServingStatus(name, true);
}

void RpcServer::SetNotServing() { server_->GetHealthCheckService()->Shutdown(); }

void RpcServer::Shutdown(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    acceptor_ = nullptr;
  }
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace ropeway::server
