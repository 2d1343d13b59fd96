#include "server/front/gate.h"

#include <utility>

namespace ropeway::server {
namespace {

constexpr int kRefusalsAtOnce = 5;  // that are logged
constexpr absl::Duration kRefusalInterval = absl::Seconds(1);

}  // namespace

Gate::Gate(const Authenticator& authenticator, const Clock& clock, const Log& log, Metrics& metrics,
           std::string listener)
    : authenticator_(authenticator),
      clock_(clock),
      log_(log),
      metrics_(metrics),
      listener_(std::move(listener)),
      limiter_(kRefusalsAtOnce, kRefusalInterval) {}

void Gate::OnRefused(absl::string_view method, absl::string_view peer, const absl::Status& why) const {
  metrics_.OnRefusal(listener_, why.code());
  int64_t suppressed = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (!limiter_.Allow(clock_.Now())) return;
    suppressed = limiter_.TakeSuppressed();
  }
  log_.Warning("not let in", {{"listener", listener_},
                              {"method", method},
                              {"peer", peer},
                              {"code", absl::StatusCodeToString(why.code())},
                              {"suppressed", suppressed}});
}

}  // namespace ropeway::server
