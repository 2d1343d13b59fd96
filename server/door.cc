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
  const TlsPaths paths = {
      .certificate = config.tls_cert, .key = config.tls_key, .client_authorities = config.tls_client_ca};
  std::vector<FileWatch::Group> files;
  if (!config.tls_cert.empty())
    files.push_back({paths.All(), [self = door.get()] { return self->ReadTls(); }});
  if (!config.keys_file.empty())
    files.push_back({{config.keys_file}, [self = door.get()] { return self->ReadKeys(); }});
  // Before the files are read, so that no change between is missed.
  door->watch_ = std::make_unique<FileWatch>(std::move(files), config.reload_interval);
  door->authenticator_ = std::make_unique<Authenticator>();
  if (!config.tls_cert.empty()) {
    ASSIGN_OR_RETURN(door->tls_, TlsSource::Open(paths, absl::Now()));
    metrics.SetTlsExpiry(door->tls_->current()->expires);
  }
  if (!config.keys_file.empty()) {
    ASSIGN_OR_RETURN(door->authenticator_, Authenticator::Open(config.keys_file));
    metrics.SetKeys(door->authenticator_->num_keys());
  }
  door->watch_->Start();
  return door;
}

std::function<bool()> Door::ReadTls() {
  return [this, use = tls_->ReadAgain(absl::Now())] {
    if (use.ok()) (*use)();
    metrics_.SetTlsExpiry(tls_->current()->expires);
    TellReload("tls", use.status());
    return use.ok();
  };
}

std::function<bool()> Door::ReadKeys() {
  return [this, use = authenticator_->ReadAgain()] {
    if (use.ok()) (*use)();
    metrics_.SetKeys(authenticator_->num_keys());
    TellReload("keys", use.status());
    return use.ok();
  };
}

std::vector<ReloadResult> Door::Reload() {
  watch_->ReadAll();
  std::vector<ReloadResult> results;
  absl::MutexLock lock(&mutex_);
  for (const auto& [what, status] : last_) results.push_back({.what = what, .status = status});
  return results;
}

// What is wrong is tried again and again, and told when something else is wrong with it.
void Door::TellReload(const std::string& what, const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    const absl::Status before = std::exchange(last_[what], status);
    if (!status.ok() && status == before) return;
  }
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
  const bool asks_for_certificates = tls_ != nullptr && tls_->asks_for_certificates();
  if (!asks_for_certificates && !authenticator_->asks()) {
    log_.Warning("THIS SERVER IS OPEN TO THE NETWORK FOR EVERYBODY: nobody is asked who they are",
                 {{"address", address}, {"remedy", "--keys_file or --tls_client_ca"}});
  }
}

void Door::WarnWhereMetricsOpen(absl::string_view address) const {
  log_.Warning("THE METRICS ARE OPEN TO THE NETWORK FOR EVERYBODY",
               {{"address", address}, {"remedy", "--metrics_needs_key=yes, or another --metrics_listen"}});
}

}  // namespace ropeway::server
