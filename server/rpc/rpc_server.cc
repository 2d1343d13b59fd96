#include "server/rpc/rpc_server.h"

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status_macros.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "server/net/acceptor.h"
#include "server/net/listener.h"
#include "server/rpc/credentials.h"
#include "server/rpc/health_service.h"
#include "server/rpc/reflection.h"
#include "server/rpc/status_map.h"

namespace ropeway::server {
namespace {

int Milliseconds(absl::Duration duration) { return static_cast<int>(absl::ToInt64Milliseconds(duration)); }

void SetConnectionLimits(const RpcServer::Options& options, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_header_bytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             Milliseconds(options.connections.arrivals.timeout));
  if (options.idle_timeout < absl::InfiniteDuration())
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.idle_timeout));
}

// Calls of methods that do not exist, so that these are told to those alone who may look.
class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  explicit UnknownMethods(const Gate* gate) : gate_(gate) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const absl::Status admitted = LookStatus(gate_, *context, "unknown");
    return new Refusal(admitted.ok() ? absl::UnimplementedError("there is no such method") : admitted);
  }

 private:
  class Refusal final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
    void OnDone() override { delete this; }
  };

  const Gate* const gate_;
};

void SetPings(const RpcServer::Options& options, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(options.min_ping_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.ping_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.ping_timeout));
}

}  // namespace

struct RpcServer::OwnServices {
  explicit OwnServices(const Options& options)
      : health({options.service_name}, options.health_needs_key ? options.gate : nullptr),
        unknown(options.gate) {
    const std::vector<std::string> all = {options.service_name, kHealthService, kReflectionService,
                                          kOldReflectionService};
    for (const char* name : {kReflectionService, kOldReflectionService})
      reflection.push_back(MakeReflectionService(name, all, options.gate));
  }

  void Register(grpc::ServerBuilder& builder) {
    builder.RegisterService(&health);
    for (const auto& service : reflection) builder.RegisterService(service.get());
    builder.RegisterCallbackGenericService(&unknown);
  }

  HealthService health;
  std::vector<std::unique_ptr<grpc::Service>> reflection;
  UnknownMethods unknown;
};

RpcServer::RpcServer(std::shared_ptr<grpc::ServerCredentials> credentials,
                     std::unique_ptr<OwnServices> services, std::unique_ptr<grpc::Server> server,
                     std::unique_ptr<Acceptor> acceptor)
    : credentials_(std::move(credentials)),
      services_(std::move(services)),
      server_(std::move(server)),
      port_(acceptor->port()),
      beyond_loopback_(acceptor->beyond_loopback()),
      acceptor_(std::move(acceptor)) {}

RpcServer::~RpcServer() = default;

// gRPC's own listener is given up for good at the first connection that finds no file descriptor (in 1.51, by
// any error of accept() but two), without a word; so the connections are accepted here and handed over.
absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options, grpc::Service& service) {
  ASSIGN_OR_RETURN(Listener listener, Listener::Listen(options.address));
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      options.credentials == nullptr ? grpc::InsecureServerCredentials() : options.credentials;
  const std::shared_ptr<grpc::experimental::ExternalConnectionAcceptor> connections =
      builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  SetConnectionLimits(options, builder);
  builder.SetMaxReceiveMessageSize(
      options.max_message_bytes == 0 ? -1 : static_cast<int>(options.max_message_bytes));
  SetPings(options, builder);
  builder.SetResourceQuota(
      grpc::ResourceQuota("ropeway").Resize(static_cast<size_t>(options.max_message_memory)));
  builder.RegisterService(&service);
  auto services = std::make_unique<OwnServices>(options);
  services->Register(builder);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC does not start");
  Acceptor::Options connection_options = options.connections;
  connection_options.arrivals.tls = options.credentials != nullptr;
  const auto hand_over = [connections](int connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.fd = connection;
    connections->HandleNewConnection(&parameters);
  };
  ASSIGN_OR_RETURN(std::unique_ptr<Acceptor> acceptor,
                   Acceptor::Start(std::move(listener), connection_options,
                                   {.on_connection = hand_over, .on_trouble = options.on_trouble}));
  return absl::WrapUnique(
      new RpcServer(credentials, std::move(services), std::move(server), std::move(acceptor)));
}

ConnectionCounts RpcServer::connections() const {
  absl::MutexLock lock(&mutex_);
  return acceptor_ == nullptr ? ConnectionCounts() : acceptor_->counts();
}

void RpcServer::SetServing() { services_->health.SetServing(true); }

void RpcServer::SetNotServing() { services_->health.Shutdown(); }

void RpcServer::Shutdown(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    acceptor_ = nullptr;
  }
  services_->health.Shutdown();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace ropeway::server
