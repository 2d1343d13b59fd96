#include "server/rpc/status_map.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/admission/admission.h"

namespace ropeway {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

void AddRetryMetadata(const absl::Status& status, grpc::ServerContextBase& context) {
  if (const auto hint = RetryHint(status)) {
    context.AddTrailingMetadata(kRetryMetadataKey, absl::StrCat(absl::ToInt64Milliseconds(*hint)));
  }
}

absl::Status TooMuchToPrepare() {
  absl::Status status = absl::ResourceExhaustedError("too many requests are being prepared; try again in 1s");
  SetRetryHint(status, absl::Seconds(1));
  return status;
}

}  // namespace ropeway
