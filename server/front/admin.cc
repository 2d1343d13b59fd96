#include "server/front/admin.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "server/config/choices.h"
#include "server/front/convert_request.h"

namespace ropeway::server {
namespace {

constexpr size_t kMaxListed = 1000;
constexpr size_t kMaxQuotedBytes = 80;

}  // namespace

absl::StatusOr<v1::DrainResponse> Answer(const v1::DrainRequest&, const AdminContext& context) {
  v1::DrainResponse response;
  response.set_living_requests(context.front.admission.live_requests());
  context.drain();
  return response;
}

absl::StatusOr<v1::SetLogLevelResponse> Answer(const v1::SetLogLevelRequest& request,
                                               const AdminContext& context) {
  const std::optional<LogLevel> level = FromWord<LogLevel>(request.level());
  if (!level) {
    return absl::InvalidArgumentError(
        absl::StrCat("level must be one of ", absl::StrJoin(Words<LogLevel>::kAll, ", "), "; is \"",
                     absl::CHexEscape(request.level().substr(0, kMaxQuotedBytes)), "\""));
  }
  v1::SetLogLevelResponse response;
  response.set_previous_level(std::string(WordOf(context.front.log.SetLevel(*level))));
  return response;
}

absl::StatusOr<v1::ReloadResponse> Answer(const v1::ReloadRequest&, const AdminContext& context) {
  v1::ReloadResponse response;
  for (const ReloadResult& result : context.reload()) {
    v1::ReloadedFiles& files = *response.add_files();
    files.set_what(result.what);
    files.set_error(Printable(std::string(result.status.message()), kMaxMessageBytes));
  }
  return response;
}

absl::StatusOr<v1::ListRequestsResponse> Answer(const v1::ListRequestsRequest&, const AdminContext& context) {
  const std::vector<RequestRegistry::Key> living = context.front.requests.List();
  v1::ListRequestsResponse response;
  response.set_total(static_cast<int32_t>(living.size()));
  for (size_t i = 0; i < std::min(living.size(), kMaxListed); ++i) {
    v1::LivingRequest& request = *response.add_requests();
    request.set_tenant(living[i].first);
    request.set_request_id(living[i].second);
  }
  return response;
}

absl::StatusOr<v1::CancelRequestResponse> Answer(const v1::CancelRequestRequest& request,
                                                 const AdminContext& context) {
  RETURN_IF_ERROR(CheckName(request.request_id(), "request_id", kMaxRequestIdBytes));
  RETURN_IF_ERROR(CheckName(request.tenant(), "tenant", kMaxTenantBytes));
  if (request.request_id().empty()) return absl::InvalidArgumentError("request_id must not be empty");
  v1::CancelRequestResponse response;
  response.set_found(context.front.requests.Abort(request.tenant(), request.request_id()));
  return response;
}

}  // namespace ropeway::server
