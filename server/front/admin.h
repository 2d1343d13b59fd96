// What an operator asks of a running server, without its transport: a request message in, its answer out.
//
// Thread-safe. Who asks was let in already.
#ifndef ROPEWAY_SERVER_FRONT_ADMIN_H_
#define ROPEWAY_SERVER_FRONT_ADMIN_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/ropeway/v1/admin.pb.h"
#include "server/front/front_context.h"

namespace ropeway::server {

// What came of reading files again.
struct ReloadResult {
  std::string what;  // "tls", "keys"
  absl::Status status;
};

struct AdminContext {
  const FrontContext& front;
  std::function<void()> drain;  // begins one; may be called again
  std::function<std::vector<ReloadResult>()> reload;
};

absl::StatusOr<v1::DrainResponse> Answer(const v1::DrainRequest& request, const AdminContext& context);
absl::StatusOr<v1::SetLogLevelResponse> Answer(const v1::SetLogLevelRequest& request,
                                               const AdminContext& context);
absl::StatusOr<v1::ReloadResponse> Answer(const v1::ReloadRequest& request, const AdminContext& context);
absl::StatusOr<v1::ListRequestsResponse> Answer(const v1::ListRequestsRequest& request,
                                                const AdminContext& context);
absl::StatusOr<v1::CancelRequestResponse> Answer(const v1::CancelRequestRequest& request,
                                                 const AdminContext& context);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_ADMIN_H_
