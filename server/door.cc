#include "server/door.h"

#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {

absl::StatusOr<std::unique_ptr<Door>> Door::Open(const Config& config, const Log& log, Metrics& metrics) {
  auto door = absl::WrapUnique(new Door(log, metrics));
  std::vector<FileWatch::Group> files;
  if (!config.tls_cert.empty()) {
    const TlsPaths paths = {
        .certificate = config.tls_cert, .key = config.tls_key, .client_authorities = config.tls_client_ca};
    ASSIGN_OR_RETURN(door->tls_, TlsSource::Open(paths, absl::Now()));
    metrics.SetTlsExpiry(door->tls_->current()->expires);
    files.push_back({paths.All(), [self = door.get()] { self->OnTlsFiles(); }});
  }
  door->watch_ = std::make_unique<FileWatch>(std::move(files), config.reload_interval);
  return door;
}

void Door::OnTlsFiles() {
  const absl::Status status = tls_->Reload(absl::Now());
  metrics_.SetTlsExpiry(tls_->current()->expires);
  TellReload("tls", status);
}

void Door::TellReload(absl::string_view what, const absl::Status& status) {
  metrics_.OnReload(what, status.ok());
  if (status.ok()) return log_.Info("files were read again", {{"what", what}});
  log_.Error("files that changed are not used, the old ones stay",
             {{"what", what}, {"message", status.message()}});
}

void Door::WarnWhereOpen(absl::string_view address, bool beyond_loopback) const {
  if (!beyond_loopback) return;
  if (tls_ == nullptr) {
    log_.Warning(
        "THIS SERVER IS OPEN TO THE NETWORK WITHOUT TLS: whoever is on the way reads prompts and answers",
        {{"address", address}, {"remedy", "--tls_cert and --tls_key"}});
  }
  if (tls_ == nullptr || !tls_->asks_for_certificates()) {
    log_.Warning("THIS SERVER IS OPEN TO THE NETWORK FOR EVERYBODY: nobody is asked who they are",
                 {{"address", address}, {"remedy", "--tls_client_ca"}});
  }
}

}  // namespace ropeway::server
