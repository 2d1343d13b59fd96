// What stands between the network and the server: its TLS files and its keys, read again when they change, and
// what the operator is told about them.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_DOOR_H_
#define ROPEWAY_SERVER_DOOR_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/auth/authenticator.h"
#include "server/auth/file_watch.h"
#include "server/auth/tls_files.h"
#include "server/config/config.h"
#include "server/front/admin.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"

namespace ropeway::server {

class Door {
 public:
  // Reads what `config` names. INVALID_ARGUMENT with file and fault where it cannot be used. `log` and
  // `metrics` outlive the door.
  static absl::StatusOr<std::unique_ptr<Door>> Open(const Config& config, const Log& log, Metrics& metrics);

  const TlsSource* tls() const { return tls_.get(); }  // null: no TLS
  const Authenticator& authenticator() const { return *authenticator_; }

  // Reads all files again now, and tells what came of each.
  std::vector<ReloadResult> Reload();

  // Warns where strangers may come to `address`, and nothing keeps them out or what they say secret.
  void WarnWhereOpen(absl::string_view address, bool beyond_loopback) const;
  // The same for metrics, which say how much is asked and answered.
  void WarnWhereMetricsOpen(absl::string_view address) const;

 private:
  Door(const Log& log, Metrics& metrics) : log_(log), metrics_(metrics) {}
  // FileWatch::Group::read of both.
  std::function<bool()> ReadTls();
  std::function<bool()> ReadKeys();
  void TellReload(const std::string& what, const absl::Status& status);

  const Log& log_;
  Metrics& metrics_;
  absl::Mutex mutex_;
  std::map<std::string, absl::Status> last_ ABSL_GUARDED_BY(mutex_);  // what came of the last reload of each
  std::unique_ptr<TlsSource> tls_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<FileWatch> watch_;  // uses all of the above
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_DOOR_H_
