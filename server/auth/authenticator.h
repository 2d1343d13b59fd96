// Lets in who may come in, by a key or by the certificate of a client, and nobody else.
//
// Where there is no file of keys, nobody is asked. Refusals are UNAUTHENTICATED or PERMISSION_DENIED and tell no
// more. Thread-safe.
#ifndef ROPEWAY_SERVER_AUTH_AUTHENTICATOR_H_
#define ROPEWAY_SERVER_AUTH_AUTHENTICATOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/optional.h"
#include "server/auth/identity.h"
#include "server/auth/key_ring.h"

namespace ropeway::server {

// What somebody wants to do, and who may.
enum class Access {
  kGenerate,  // all that uses the model: users
  kLook,      // what the server is and does: everybody with a key
  kMetrics,   // monitors and admins
  kAdmin,     // admins
};

// What somebody shows.
struct Credentials {
  absl::optional<std::string> authorization;  // "Bearer KEY"; counts alone where there is one
  std::string subject;                        // of the client's certificate, which was verified; empty: none
};

class Authenticator {
 public:
  Authenticator() = default;  // asks nobody

  // Reads the file of keys. INVALID_ARGUMENT with path, line and word.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Open(const std::string& path);

  bool asks() const { return !path_.empty(); }
  size_t num_keys() const;

  // Reads the file again. What is returned puts the new keys into use; until then the old ones stay.
  absl::StatusOr<std::function<void()>> ReadAgain();

  absl::StatusOr<IdentityPtr> Admit(const Credentials& credentials, Access access) const;

 private:
  std::shared_ptr<const KeyRing> ring() const;

  std::string path_;
  const IdentityPtr anybody_ = std::make_shared<const Identity>(Identity{.any_tenant = true});
  mutable absl::Mutex mutex_;
  std::shared_ptr<const KeyRing> ring_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_AUTH_AUTHENTICATOR_H_
