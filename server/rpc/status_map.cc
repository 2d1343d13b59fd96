#include "server/rpc/status_map.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "server/admission/admission.h"

namespace ropeway::server {
namespace {

// A google.rpc.Status that carries RetryInfo.
std::string RetryDetails(const absl::Status& status, absl::Duration retry_after) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::IDivDuration(retry_after, absl::Seconds(1), &retry_after));
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(retry_after)));
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(retry);
  return details.SerializeAsString();
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto hint = RetryHint(status);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      hint ? RetryDetails(status, *hint) : "");
}

void AddRetryMetadata(const absl::Status& status, grpc::ServerContextBase& context) {
  if (const auto hint = RetryHint(status)) {
    context.AddTrailingMetadata(kRetryMetadataKey, absl::StrCat(absl::ToInt64Milliseconds(*hint)));
  }
}

}  // namespace ropeway::server
