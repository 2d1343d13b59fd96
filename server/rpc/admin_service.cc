#include "server/rpc/admin_service.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "grpcpp/support/server_callback.h"
#include "proto/ropeway/v1/admin.grpc.pb.h"
#include "server/rpc/credentials.h"
#include "server/rpc/status_map.h"

namespace ropeway::server {
namespace {

class AdminService final : public v1::Admin::CallbackService {
 public:
  AdminService(const AdminContext& context, const Gate& gate) : context_(context), gate_(gate) {}

  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* call, const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override {
    return Serve("Drain", *call, *request, *response);
  }
  grpc::ServerUnaryReactor* SetLogLevel(grpc::CallbackServerContext* call,
                                        const v1::SetLogLevelRequest* request,
                                        v1::SetLogLevelResponse* response) override {
    return Serve("SetLogLevel", *call, *request, *response);
  }
  grpc::ServerUnaryReactor* Reload(grpc::CallbackServerContext* call, const v1::ReloadRequest* request,
                                   v1::ReloadResponse* response) override {
    return Serve("Reload", *call, *request, *response);
  }
  grpc::ServerUnaryReactor* ListRequests(grpc::CallbackServerContext* call,
                                         const v1::ListRequestsRequest* request,
                                         v1::ListRequestsResponse* response) override {
    return Serve("ListRequests", *call, *request, *response);
  }
  grpc::ServerUnaryReactor* CancelRequest(grpc::CallbackServerContext* call,
                                          const v1::CancelRequestRequest* request,
                                          v1::CancelRequestResponse* response) override {
    return Serve("CancelRequest", *call, *request, *response);
  }

 private:
  // What an admin did is logged with the admin's name.
  template <typename Request, typename Response>
  absl::Status Do(const char* method, const grpc::CallbackServerContext& call, const Request& request,
                  Response& response) const {
    ASSIGN_OR_RETURN(const IdentityPtr admin, gate_.Admit(CredentialsOf(call), Access::kAdmin));
    absl::StatusOr<Response> answer = Answer(request, context_);
    context_.front.log.Info("admin", {{"method", method},
                                      {"key", admin->name},
                                      {"code", absl::StatusCodeToString(answer.status().code())},
                                      {"request", request.ShortDebugString()}});
    if (answer.ok()) response.Swap(&*answer);
    return answer.status();
  }

  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Serve(const char* method, grpc::CallbackServerContext& call,
                                  const Request& request, Response& response) const {
    const absl::Status status = Do(method, call, request, response);
    context_.front.metrics.OnCall(absl::StrCat("Admin.", method), status.code());
    if (Gate::IsRefusal(status)) gate_.OnRefused(method, call.peer(), status);
    grpc::ServerUnaryReactor* const reactor = call.DefaultReactor();
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

  const AdminContext& context_;
  const Gate& gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(const AdminContext& context, const Gate& gate) {
  return std::make_unique<AdminService>(context, gate);
}

}  // namespace ropeway::server
