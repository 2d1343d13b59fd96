// Who comes in by one listener: asks the authenticator, and tells the operator of those who were refused.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_GATE_H_
#define ROPEWAY_SERVER_FRONT_GATE_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "server/auth/authenticator.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"
#include "server/obs/rate_limiter.h"

namespace ropeway::server {

class Gate {
 public:
  // `listener` names it in log and metrics: "grpc", "metrics", "admin". All outlive the gate.
  Gate(const Authenticator& authenticator, const Clock& clock, const Log& log, Metrics& metrics,
       std::string listener);

  absl::StatusOr<IdentityPtr> Admit(const Credentials& credentials, Access access) const {
    return authenticator_.Admit(credentials, access);
  }

  // Counts and logs, a few each second, that `peer` was refused. To be called once for each refusal.
  void OnRefused(absl::string_view method, absl::string_view peer, const absl::Status& why) const;

  // Whether `status` is a refusal for want of a key.
  static bool IsRefusal(const absl::Status& status) {
    return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
  }

 private:
  const Authenticator& authenticator_;
  const Clock& clock_;
  const Log& log_;
  Metrics& metrics_;
  const std::string listener_;
  mutable absl::Mutex mutex_;
  mutable RateLimiter limiter_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_GATE_H_
