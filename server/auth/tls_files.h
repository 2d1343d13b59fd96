// The certificate of the server, its key, and the authorities whose clients get in: read, checked, and read
// again when their files change.
//
// What is wrong at a reload leaves what was right before in use. No error quotes what a file holds.
#ifndef ROPEWAY_SERVER_AUTH_TLS_FILES_H_
#define ROPEWAY_SERVER_AUTH_TLS_FILES_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace ropeway::server {

// Files in PEM.
struct TlsPaths {
  std::string certificate;         // of the server, then those between it and its authority
  std::string key;                 // of the first certificate; without a password
  std::string client_authorities;  // empty: clients are asked for no certificate

  std::vector<std::string> All() const;
};

// What the files hold; it belongs together, and was valid when it was read.
struct TlsMaterial {
  std::string certificate, key, client_authorities;
  absl::Time expires;  // the first certificate
};

// INVALID_ARGUMENT or the error of reading, naming the file: no certificate or key in it, a certificate that
// is not valid at `now`, a key of another certificate, no authority that is valid.
absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsPaths& paths, absl::Time now);

// What is in use. Thread-safe.
class TlsSource {
 public:
  static absl::StatusOr<std::unique_ptr<TlsSource>> Open(const TlsPaths& paths, absl::Time now);

  const TlsPaths& paths() const { return paths_; }
  bool asks_for_certificates() const { return !paths_.client_authorities.empty(); }

  // Reads the files again. What is returned puts that into use; until then what was in use stays.
  absl::StatusOr<std::function<void()>> ReadAgain(absl::Time now);

  std::shared_ptr<const TlsMaterial> current() const;

 private:
  TlsSource(TlsPaths paths, TlsMaterial material);

  const TlsPaths paths_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const TlsMaterial> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_AUTH_TLS_FILES_H_
