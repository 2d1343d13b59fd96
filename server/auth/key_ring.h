// The keys of a file, to be asked whose a key or a certificate is.
//
// Immutable; thread-safe. A key takes the same time to be looked for whether there is one of its ID, whether its
// secret is right, and wherever in the file it stands: all IDs are compared, one digest is computed, and both in
// constant time.
#ifndef ROPEWAY_SERVER_AUTH_KEY_RING_H_
#define ROPEWAY_SERVER_AUTH_KEY_RING_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "server/auth/identity.h"
#include "server/keys/key_file.h"

namespace ropeway::server {

class KeyRing {
 public:
  explicit KeyRing(const std::vector<KeyEntry>& entries);

  size_t size() const { return size_; }

  // Null where there is none.
  IdentityPtr FindKey(absl::string_view text) const;
  IdentityPtr FindSubject(absl::string_view subject) const;

 private:
  struct Lock {
    std::array<uint8_t, 16> salt;
    std::array<uint8_t, 32> digest;
    IdentityPtr identity;  // null: of the lock that nothing opens
  };

  size_t size_ = 0;
  // One after the other; the first one is what unknown IDs are tried at.
  std::vector<uint64_t> ids_;
  std::vector<Lock> locks_;
  absl::flat_hash_map<std::string, IdentityPtr> subjects_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_AUTH_KEY_RING_H_
