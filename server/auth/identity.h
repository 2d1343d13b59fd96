// Who asks: what the server knows of a client that was let in.
#ifndef ROPEWAY_SERVER_AUTH_IDENTITY_H_
#define ROPEWAY_SERVER_AUTH_IDENTITY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/keys/key_file.h"

namespace ropeway::server {

struct Identity {
  std::string name;  // of the key; empty where nobody is asked
  KeyRole role = KeyRole::kUser;
  std::string tenant;
  bool any_tenant = false;
  KeyLimits limits;

  // The tenant of a request that names `asked`, or none. PERMISSION_DENIED where the key does not allow it.
  absl::StatusOr<std::string> TenantOf(absl::string_view asked) const;
};

// Outlives a reload of the keys.
using IdentityPtr = std::shared_ptr<const Identity>;

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_AUTH_IDENTITY_H_
