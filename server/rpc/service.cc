#include "server/rpc/service.h"

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/impl/codegen/server_callback.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/rpc/convert_info.h"
#include "server/rpc/convert_prompt.h"
#include "server/rpc/reactors.h"
#include "server/rpc/status_map.h"
#include "server/rpc/wire.h"

namespace ropeway {
namespace {

// clang-format off
using RawService =
    v1::Ropeway::WithRawCallbackMethod_Generate<
    v1::Ropeway::WithRawCallbackMethod_GenerateUnary<
    v1::Ropeway::WithRawCallbackMethod_Tokenize<
    v1::Ropeway::WithRawCallbackMethod_Detokenize<
    v1::Ropeway::WithRawCallbackMethod_RenderChat<
    v1::Ropeway::WithRawCallbackMethod_GetModelInfo<
    v1::Ropeway::WithRawCallbackMethod_GetServerInfo<
    v1::Ropeway::WithRawCallbackMethod_Abort<v1::Ropeway::Service>>>>>>>>;
// clang-format on

using ServerContext = grpc::CallbackServerContext;
using UnaryResult = absl::StatusOr<grpc::ByteBuffer>;

// A call that was answered before it began.
class RefusedStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  RefusedStream(const absl::Status& status, ServerContext& call) {
    AddRetryMetadata(status, call);
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

class RopewayService final : public RawService {
 public:
  explicit RopewayService(const ServiceContext& context) : context_(context) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(ServerContext* call,
                                                       const grpc::ByteBuffer* request) override {
    auto accepted = Accept(*request);
    if (!accepted.ok()) {
      context_.metrics.OnCall("Generate", accepted.status().code());
      return new RefusedStream(accepted.status(), *call);
    }
    auto* reactor = new StreamReactor(context_, *accepted->backend, *call);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* GenerateUnary(ServerContext* call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    auto accepted = Accept(*request);
    if (!accepted.ok()) return FinishAtOnce("GenerateUnary", call, accepted.status(), response);
    auto* reactor = new UnaryReactor(context_, *accepted->backend, *call, response);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* Tokenize(ServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return OnWorker("Tokenize", call, response, [this, request] { return AnswerTokenize(*request); });
  }

  grpc::ServerUnaryReactor* Detokenize(ServerContext* call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return OnWorker("Detokenize", call, response, [this, request] { return AnswerDetokenize(*request); });
  }

  grpc::ServerUnaryReactor* RenderChat(ServerContext* call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return OnWorker("RenderChat", call, response, [this, request] { return AnswerRenderChat(*request); });
  }

  grpc::ServerUnaryReactor* GetModelInfo(ServerContext* call, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    return FinishAtOnce("GetModelInfo", call, AnswerGetModelInfo(*request), response);
  }

  grpc::ServerUnaryReactor* GetServerInfo(ServerContext* call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    return FinishAtOnce("GetServerInfo", call, AnswerGetServerInfo(*request), response);
  }

  grpc::ServerUnaryReactor* Abort(ServerContext* call, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return FinishAtOnce("Abort", call, AnswerAbort(*request), response);
  }

 private:
  absl::StatusOr<const Backend*> GetBackend() const {
    const Backend* backend = context_.backend.load(std::memory_order_acquire);
    if (backend == nullptr) return absl::UnavailableError("the model is loading; try again soon");
    return backend;
  }

  // A generation that may be prepared.
  struct Accepted {
    const Backend* backend;
    Admission::Permit permit;
    v1::GenerateRequest message;
  };

  // Takes a place before anything is done for the request, so that a flood is refused at no cost.
  absl::StatusOr<Accepted> Accept(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const Backend* backend, GetBackend());
    ASSIGN_OR_RETURN(Admission::Permit permit, context_.admission.TryEnter());
    ASSIGN_OR_RETURN(auto message, ParseMessage<v1::GenerateRequest>(request));
    return Accepted{.backend = backend, .permit = std::move(permit), .message = std::move(message)};
  }

  absl::CivilSecond Now() const { return absl::ToCivilSecond(context_.clock.Now(), absl::LocalTimeZone()); }

  UnaryResult AnswerTokenize(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const Backend* backend, GetBackend());
    ASSIGN_OR_RETURN(const auto message, ParseMessage<v1::TokenizeRequest>(request));
    RETURN_IF_ERROR(CheckModelName(message.model(), backend->model));
    ASSIGN_OR_RETURN(const auto response, ConvertTokenize(message, *backend, Now()));
    return SerializeMessage(response);
  }

  UnaryResult AnswerDetokenize(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const Backend* backend, GetBackend());
    ASSIGN_OR_RETURN(const auto message, ParseMessage<v1::DetokenizeRequest>(request));
    RETURN_IF_ERROR(CheckModelName(message.model(), backend->model));
    ASSIGN_OR_RETURN(const auto response, ConvertDetokenize(message, *backend));
    return SerializeMessage(response);
  }

  UnaryResult AnswerRenderChat(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const Backend* backend, GetBackend());
    ASSIGN_OR_RETURN(const auto message, ParseMessage<v1::RenderChatRequest>(request));
    RETURN_IF_ERROR(CheckModelName(message.model(), backend->model));
    ASSIGN_OR_RETURN(const auto segments,
                     ropeway::RenderChat(message.chat(), backend->model, backend->limits, Now()));
    v1::RenderChatResponse response;
    response.set_text(JoinSegments(segments));
    return SerializeMessage(response);
  }

  UnaryResult AnswerGetModelInfo(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const Backend* backend, GetBackend());
    RETURN_IF_ERROR(ParseMessage<v1::GetModelInfoRequest>(request).status());
    return SerializeMessage(ConvertModelInfo(*backend));
  }

  UnaryResult AnswerGetServerInfo(const grpc::ByteBuffer& request) const {
    RETURN_IF_ERROR(ParseMessage<v1::GetServerInfoRequest>(request).status());
    return SerializeMessage(ConvertServerInfo(context_));
  }

  UnaryResult AnswerAbort(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const auto message, ParseMessage<v1::AbortRequest>(request));
    RETURN_IF_ERROR(CheckName(message.request_id(), "request_id", kMaxRequestIdBytes));
    RETURN_IF_ERROR(CheckName(message.tenant(), "tenant", kMaxTenantBytes));
    if (message.request_id().empty()) return absl::InvalidArgumentError("request_id must not be empty");
    v1::AbortResponse response;
    response.set_found(context_.live_requests.Abort(message.tenant(), message.request_id()));
    return SerializeMessage(response);
  }

  void FinishUnary(const char* method, ServerContext* call, grpc::ServerUnaryReactor* reactor,
                   UnaryResult result, grpc::ByteBuffer* response) const {
    context_.metrics.OnCall(method, result.status().code());
    AddRetryMetadata(result.status(), *call);
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpcStatus(result.status()));
  }

  grpc::ServerUnaryReactor* FinishAtOnce(const char* method, ServerContext* call, UnaryResult result,
                                         grpc::ByteBuffer* response) const {
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    FinishUnary(method, call, reactor, std::move(result), response);
    return reactor;
  }

  // For work that takes longer than a reaction may. `work` may use the call's request: both live until
  // Finish.
  grpc::ServerUnaryReactor* OnWorker(const char* method, ServerContext* call, grpc::ByteBuffer* response,
                                     std::function<UnaryResult()> work) const {
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const bool posted =
        context_.preparing.TryPost([this, method, call, reactor, response, work = std::move(work)] {
          // Nobody waits any more where the client left or its deadline expired.
          UnaryResult result = call->IsCancelled() ? absl::CancelledError("the call was cancelled") : work();
          FinishUnary(method, call, reactor, std::move(result), response);
        });
    if (!posted) FinishUnary(method, call, reactor, TooMuchToPrepare(), response);
    return reactor;
  }

  const ServiceContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRopewayService(const ServiceContext& context) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(v1::Ropeway::service_full_name());
  ROPEWAY_CHECK(service != nullptr);
  for (int i = 0; i < service->method_count(); ++i) context.metrics.AddMethod(service->method(i)->name());
  return std::make_unique<RopewayService>(context);
}

}  // namespace ropeway
