#include "server/rpc/service.h"

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "grpc/grpc.h"
#include "grpcpp/impl/codegen/server_callback.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/front/answers.h"
#include "server/front/estimation.h"
#include "server/rpc/credentials.h"
#include "server/rpc/reactors.h"
#include "server/rpc/status_map.h"
#include "server/rpc/wire.h"

namespace ropeway::server {
namespace {

// clang-format off
using RawService =
    v1::Ropeway::WithRawCallbackMethod_Generate<
    v1::Ropeway::WithRawCallbackMethod_GenerateUnary<
    v1::Ropeway::WithRawCallbackMethod_Estimate<
    v1::Ropeway::WithRawCallbackMethod_Tokenize<
    v1::Ropeway::WithRawCallbackMethod_Detokenize<
    v1::Ropeway::WithRawCallbackMethod_RenderChat<
    v1::Ropeway::WithRawCallbackMethod_GetModelInfo<
    v1::Ropeway::WithRawCallbackMethod_GetServerInfo<
    v1::Ropeway::WithRawCallbackMethod_Abort<v1::Ropeway::Service>>>>>>>>>;
// clang-format on

using ServerContext = grpc::CallbackServerContext;
using AnswerOrError = absl::StatusOr<grpc::ByteBuffer>;

class RopewayService final : public RawService {
 public:
  RopewayService(const FrontContext& context, int64_t max_request_bytes)
      : context_(context), max_request_bytes_(max_request_bytes) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(ServerContext* grpc_call,
                                                       const grpc::ByteBuffer* request) override {
    Call call = CallOf("Generate", *grpc_call, context_.clock);
    auto accepted = Accept(call, *grpc_call, *request);
    if (!accepted.ok()) {
      RecordEnd(context_, call, accepted.status());
      return new RefusedStreamReactor(accepted.status(), *grpc_call);
    }
    auto* reactor = new GenerateReactor(context_, *accepted->engine, std::move(call), *grpc_call);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* GenerateUnary(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    Call call = CallOf("GenerateUnary", *grpc_call, context_.clock);
    auto accepted = Accept(call, *grpc_call, *request);
    if (!accepted.ok()) {
      auto* refusing = new AnswerReactor(context_, std::move(call), *grpc_call, response);
      refusing->Answer(accepted.status());
      return refusing;
    }
    auto* reactor =
        new GenerateUnaryReactor(context_, *accepted->engine, std::move(call), *grpc_call, response);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* Estimate(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return OnWorker("Estimate", Access::kGenerate, grpc_call, request, response,
                    [this, request](AnswerReactor* reactor) { AnswerEstimate(*request, reactor); });
  }

  grpc::ServerUnaryReactor* Tokenize(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return AnswerOnWorker<v1::TokenizeRequest>("Tokenize", Access::kGenerate, grpc_call, request, response);
  }

  grpc::ServerUnaryReactor* Detokenize(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return AnswerOnWorker<v1::DetokenizeRequest>("Detokenize", Access::kGenerate, grpc_call, request,
                                                 response);
  }

  grpc::ServerUnaryReactor* RenderChat(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return AnswerOnWorker<v1::RenderChatRequest>("RenderChat", Access::kGenerate, grpc_call, request,
                                                 response);
  }

  grpc::ServerUnaryReactor* GetModelInfo(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    return AtOnce<v1::GetModelInfoRequest>("GetModelInfo", Access::kLook, grpc_call, request, response);
  }

  grpc::ServerUnaryReactor* GetServerInfo(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    return AtOnce<v1::GetServerInfoRequest>("GetServerInfo", Access::kLook, grpc_call, request, response);
  }

  grpc::ServerUnaryReactor* Abort(ServerContext* grpc_call, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return AtOnce<v1::AbortRequest>("Abort", Access::kGenerate, grpc_call, request, response);
  }

 private:
  void AnswerEstimate(const grpc::ByteBuffer& bytes, AnswerReactor* reactor) const {
    auto message = ParseMessage<v1::EstimateRequest>(bytes, max_request_bytes_);
    if (!message.ok()) return reactor->Answer(message.status());
    if (message->has_request()) {
      const absl::Status allowed = SetTenant(*reactor->call().identity, *message->mutable_request());
      if (!allowed.ok()) return reactor->Answer(allowed);
    }
    server::Estimate(*message, context_, reactor->call(),
                     [reactor](const absl::StatusOr<v1::EstimateResponse>& estimate) {
                       reactor->Answer(estimate.ok() ? AnswerOrError(SerializeMessage(*estimate))
                                                     : AnswerOrError(estimate.status()));
                     });
  }

  // A generation that may be prepared.
  struct Accepted {
    const EngineHandle* engine;
    Admission::Permit permit;
    v1::GenerateRequest message;
  };

  // Takes a place before anything is done for the request, so that a flood is refused at no cost.
  absl::StatusOr<Accepted> Accept(Call& call, ServerContext& grpc_call,
                                  const grpc::ByteBuffer& request) const {
    RETURN_IF_ERROR(Begin(call, grpc_call, request, Access::kGenerate));
    absl::StatusOr<const EngineHandle*> engine = context_.LoadedEngine();
    if (!engine.ok()) return WithRetryHint(engine.status());
    absl::StatusOr<Admission::Permit> permit = context_.admission.TryEnter(call.connection);
    if (!permit.ok()) return WithRetryHint(permit.status());
    ASSIGN_OR_RETURN(auto message, Parse<v1::GenerateRequest>(*call.identity, request));
    return Accepted{.engine = *engine, .permit = *std::move(permit), .message = std::move(message)};
  }

  // Lets the call in, or not, before all else.
  absl::Status Begin(Call& call, ServerContext& grpc_call, const grpc::ByteBuffer& request,
                     Access access) const {
    ASSIGN_OR_RETURN(call.identity, context_.gate.Admit(CredentialsOf(grpc_call), access));
    return CheckArrived(call, grpc_call, request);
  }

  // The message, with the tenant whose it is: the key says that, and the request only where the key lets it.
  template <typename Request>
  absl::StatusOr<Request> Parse(const Identity& identity, const grpc::ByteBuffer& bytes) const {
    ASSIGN_OR_RETURN(auto request, ParseMessage<Request>(bytes, max_request_bytes_));
    if constexpr (requires { request.tenant(); }) RETURN_IF_ERROR(SetTenant(identity, request));
    return request;
  }

  template <typename Request>
  static absl::Status SetTenant(const Identity& identity, Request& request) {
    ASSIGN_OR_RETURN(*request.mutable_tenant(), identity.TenantOf(request.tenant()));
    return absl::OkStatus();
  }

  // gRPC begins calls without a message, too.
  absl::Status CheckArrived(const Call& call, ServerContext& grpc_call,
                            const grpc::ByteBuffer& request) const {
    if (request.Valid()) return absl::OkStatus();
    if (grpc_call_failed_before_recv_message(grpc_call.c_call()) != 0) {
      return GivenUpStatus(call, context_.clock.Now());
    }
    return absl::InvalidArgumentError("the call ended without a request");
  }

  template <typename Request>
  AnswerOrError Answer(const Call& call, const grpc::ByteBuffer& bytes) const {
    ASSIGN_OR_RETURN(const auto request, Parse<Request>(*call.identity, bytes));
    ASSIGN_OR_RETURN(const auto response, server::Answer(request, context_));
    return SerializeMessage(response);
  }

  template <typename Request>
  grpc::ServerUnaryReactor* AtOnce(const char* method, Access access, ServerContext* grpc_call,
                                   const grpc::ByteBuffer* request, grpc::ByteBuffer* response) const {
    Call call = CallOf(method, *grpc_call, context_.clock);
    const absl::Status begun = Begin(call, *grpc_call, *request, access);
    auto* reactor = new AnswerReactor(context_, std::move(call), *grpc_call, response);
    reactor->Answer(begun.ok() ? Answer<Request>(reactor->call(), *request) : begun);
    return reactor;
  }

  template <typename Request>
  grpc::ServerUnaryReactor* AnswerOnWorker(const char* method, Access access, ServerContext* grpc_call,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) const {
    return OnWorker(method, access, grpc_call, request, response, [this, request](AnswerReactor* reactor) {
      reactor->Answer(CatchExhaustion([&] { return Answer<Request>(reactor->call(), *request); }));
    });
  }

  // For work that takes longer than a reaction may, and that sees to it that `reactor` answers. The call's
  // request lives until then.
  grpc::ServerUnaryReactor* OnWorker(const char* method, Access access, ServerContext* grpc_call,
                                     const grpc::ByteBuffer* request, grpc::ByteBuffer* response,
                                     std::function<void(AnswerReactor* reactor)> work) const {
    Call call = CallOf(method, *grpc_call, context_.clock);
    const absl::Status begun = Begin(call, *grpc_call, *request, access);
    auto* reactor = new AnswerReactor(context_, std::move(call), *grpc_call, response);
    if (!begun.ok()) {
      reactor->Answer(begun);
      return reactor;
    }
    const bool posted = context_.preparing.TryPost([this, reactor, work = std::move(work)] {
      // Nobody waits any more where the client left or its deadline expired.
      if (reactor->given_up()) return reactor->Answer(GivenUpStatus(reactor->call(), context_.clock.Now()));
      work(reactor);
    });
    if (!posted) reactor->Answer(TooManyToPrepare());
    return reactor;
  }

  const FrontContext& context_;
  const int64_t max_request_bytes_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRopewayService(const FrontContext& context, int64_t max_request_bytes) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(v1::Ropeway::service_full_name());
  ROPEWAY_CHECK(service != nullptr);
  for (int i = 0; i < service->method_count(); ++i) context.metrics.AddMethod(service->method(i)->name());
  return std::make_unique<RopewayService>(context, max_request_bytes);
}

}  // namespace ropeway::server
