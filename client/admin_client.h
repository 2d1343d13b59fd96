// What an operator asks of a running server, on its admin listener and with an admin's key.
//
// Thread-safe.
#ifndef ROPEWAY_CLIENT_ADMIN_CLIENT_H_
#define ROPEWAY_CLIENT_ADMIN_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ropeway_client.h"

namespace ropeway::client {

// Where admins ask, unless they are told otherwise.
inline constexpr char kDefaultAdminServer[] = "127.0.0.1:50052";

struct ReloadedFiles {
  std::string what;   // "tls", "keys"
  std::string error;  // why the old ones stay in use; empty: the new ones are
};

struct LivingRequest {
  std::string tenant;
  std::string request_id;
};

struct LivingRequests {
  std::vector<LivingRequest> requests;  // the first of them
  int32_t total = 0;
};

class AdminClient {
 public:
  // Options as those of Client.
  explicit AdminClient(const ClientOptions& options);
  ~AdminClient();

  // Ends the server in good order. Returns how many requests lived then.
  absl::StatusOr<int32_t> Drain(const CallOptions& options = {});
  // Returns the level before.
  absl::StatusOr<std::string> SetLogLevel(const std::string& level, const CallOptions& options = {});
  absl::StatusOr<std::vector<ReloadedFiles>> Reload(const CallOptions& options = {});
  absl::StatusOr<LivingRequests> ListRequests(const CallOptions& options = {});
  // Whether there was such a request.
  absl::StatusOr<bool> CancelRequest(const std::string& request_id, const std::string& tenant,
                                     const CallOptions& options = {});

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_ADMIN_CLIENT_H_
