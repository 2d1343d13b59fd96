#include "server/rpc/service.h"

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/status_macros.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/impl/codegen/server_callback.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/front/answers.h"
#include "server/rpc/reactors.h"
#include "server/rpc/status_map.h"
#include "server/rpc/wire.h"

namespace ropeway::server {
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
  explicit RopewayService(const FrontContext& context) : context_(context) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(ServerContext* call,
                                                       const grpc::ByteBuffer* request) override {
    auto accepted = Accept(*request);
    if (!accepted.ok()) {
      context_.metrics.OnCall("Generate", accepted.status().code());
      return new RefusedStream(accepted.status(), *call);
    }
    auto* reactor = new StreamReactor(context_, *accepted->engine, *call);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* GenerateUnary(ServerContext* call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    auto accepted = Accept(*request);
    if (!accepted.ok()) return FinishAtOnce("GenerateUnary", call, accepted.status(), response);
    auto* reactor = new UnaryReactor(context_, *accepted->engine, *call, response);
    reactor->Start(std::move(accepted->message), std::move(accepted->permit));
    return reactor;
  }

  grpc::ServerUnaryReactor* Tokenize(ServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return OnWorker("Tokenize", call, response,
                    [this, request] { return Answer<v1::TokenizeRequest>(*request); });
  }

  grpc::ServerUnaryReactor* Detokenize(ServerContext* call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return OnWorker("Detokenize", call, response,
                    [this, request] { return Answer<v1::DetokenizeRequest>(*request); });
  }

  grpc::ServerUnaryReactor* RenderChat(ServerContext* call, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return OnWorker("RenderChat", call, response,
                    [this, request] { return Answer<v1::RenderChatRequest>(*request); });
  }

  grpc::ServerUnaryReactor* GetModelInfo(ServerContext* call, const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    return FinishAtOnce("GetModelInfo", call, Answer<v1::GetModelInfoRequest>(*request), response);
  }

  grpc::ServerUnaryReactor* GetServerInfo(ServerContext* call, const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override {
    return FinishAtOnce("GetServerInfo", call, Answer<v1::GetServerInfoRequest>(*request), response);
  }

  grpc::ServerUnaryReactor* Abort(ServerContext* call, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return FinishAtOnce("Abort", call, Answer<v1::AbortRequest>(*request), response);
  }

 private:
  // A generation that may be prepared.
  struct Accepted {
    const EngineHandle* engine;
    Admission::Permit permit;
    v1::GenerateRequest message;
  };

  // Takes a place before anything is done for the request, so that a flood is refused at no cost.
  absl::StatusOr<Accepted> Accept(const grpc::ByteBuffer& request) const {
    ASSIGN_OR_RETURN(const EngineHandle* engine, context_.LoadedEngine());
    ASSIGN_OR_RETURN(Admission::Permit permit, context_.admission.TryEnter());
    ASSIGN_OR_RETURN(auto message, ParseMessage<v1::GenerateRequest>(request));
    return Accepted{.engine = engine, .permit = std::move(permit), .message = std::move(message)};
  }

  template <typename Request>
  UnaryResult Answer(const grpc::ByteBuffer& bytes) const {
    ASSIGN_OR_RETURN(const auto request, ParseMessage<Request>(bytes));
    ASSIGN_OR_RETURN(const auto response, server::Answer(request, context_));
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
          UnaryResult result =
              call->IsCancelled() ? absl::CancelledError("the call was cancelled") : CatchExhaustion(work);
          FinishUnary(method, call, reactor, std::move(result), response);
        });
    if (!posted) FinishUnary(method, call, reactor, TooManyToPrepare(), response);
    return reactor;
  }

  const FrontContext& context_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRopewayService(const FrontContext& context) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(v1::Ropeway::service_full_name());
  ROPEWAY_CHECK(service != nullptr);
  for (int i = 0; i < service->method_count(); ++i) context.metrics.AddMethod(service->method(i)->name());
  return std::make_unique<RopewayService>(context);
}

}  // namespace ropeway::server
