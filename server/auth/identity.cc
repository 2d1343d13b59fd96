#include "server/auth/identity.h"

#include "absl/status/status.h"

namespace ropeway::server {

absl::StatusOr<std::string> Identity::TenantOf(absl::string_view asked) const {
  if (asked.empty() || asked == tenant) return tenant;
  if (any_tenant) return std::string(asked);
  return absl::PermissionDeniedError("not permitted");
}

}  // namespace ropeway::server
