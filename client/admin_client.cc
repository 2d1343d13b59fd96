#include "client/admin_client.h"

#include "client/connection.h"
#include "proto/ropeway/v1/admin.grpc.pb.h"

namespace ropeway::client {

class AdminClient::Impl {
 public:
  explicit Impl(const ClientOptions& options)
      : connection_(options), stub_(v1::Admin::NewStub(connection_.channel())) {}

  template <typename Request, typename Response>
  absl::StatusOr<Response> Ask(grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                       Response*),
                               const Request& request, const CallOptions& options) {
    return connection_.Unary(*stub_, method, request, options);
  }

 private:
  Connection connection_;
  const std::unique_ptr<v1::Admin::Stub> stub_;
};

AdminClient::AdminClient(const ClientOptions& options) : impl_(std::make_unique<Impl>(options)) {}
AdminClient::~AdminClient() = default;

absl::StatusOr<int32_t> AdminClient::Drain(const CallOptions& options) {
  const auto response = impl_->Ask(&v1::Admin::Stub::Drain, v1::DrainRequest(), options);
  if (!response.ok()) return response.status();
  return response->living_requests();
}

absl::StatusOr<std::string> AdminClient::SetLogLevel(const std::string& level, const CallOptions& options) {
  v1::SetLogLevelRequest request;
  request.set_level(level);
  const auto response = impl_->Ask(&v1::Admin::Stub::SetLogLevel, request, options);
  if (!response.ok()) return response.status();
  return response->previous_level();
}

absl::StatusOr<std::vector<ReloadedFiles>> AdminClient::Reload(const CallOptions& options) {
  const auto response = impl_->Ask(&v1::Admin::Stub::Reload, v1::ReloadRequest(), options);
  if (!response.ok()) return response.status();
  std::vector<ReloadedFiles> files;
  for (const v1::ReloadedFiles& one : response->files())
    files.push_back({.what = one.what(), .error = one.error()});
  return files;
}

absl::StatusOr<LivingRequests> AdminClient::ListRequests(const CallOptions& options) {
  const auto response = impl_->Ask(&v1::Admin::Stub::ListRequests, v1::ListRequestsRequest(), options);
  if (!response.ok()) return response.status();
  LivingRequests living = {.total = response->total()};
  for (const v1::LivingRequest& one : response->requests())
    living.requests.push_back({.tenant = one.tenant(), .request_id = one.request_id()});
  return living;
}

absl::StatusOr<bool> AdminClient::CancelRequest(const std::string& request_id, const std::string& tenant,
                                                const CallOptions& options) {
  v1::CancelRequestRequest request;
  request.set_request_id(request_id);
  request.set_tenant(tenant);
  const auto response = impl_->Ask(&v1::Admin::Stub::CancelRequest, request, options);
  if (!response.ok()) return response.status();
  return response->found();
}

}  // namespace ropeway::client
