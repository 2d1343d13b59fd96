#include "server/rpc/rpc_server.h"

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/net/listener.h"

namespace ropeway::server {
namespace {

// Health is asked for the server as a whole ("") or for the service.
constexpr const char* kHealthNames[] = {"", v1::Ropeway::service_full_name()};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options, grpc::Service& service) {
  // gRPC does not say why it cannot listen; whoever tries it first hears it.
  RETURN_IF_ERROR(Listener::Listen(options.address).status());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
  // Otherwise a second server at the same port would start and take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_request_bytes));
  builder.SetResourceQuota(
      grpc::ResourceQuota("ropeway").Resize(static_cast<size_t>(options.max_message_memory)));
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0)
    return absl::UnavailableError(absl::StrCat("cannot listen at ", options.address));
  for (const char* name : kHealthNames) server->GetHealthCheckService()->SetServingStatus(name, false);
  return absl::WrapUnique(new RpcServer(std::move(server), port));
}

void RpcServer::SetServing() {
  for (const char* name : kHealthNames) server_->GetHealthCheckService()->SetServingStatus(name, true);
}

void RpcServer::SetNotServing() { server_->GetHealthCheckService()->Shutdown(); }

void RpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace ropeway::server
