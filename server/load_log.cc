#include "server/load_log.h"

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ropeway::server {
namespace {

constexpr absl::Duration kBetweenLines = absl::Seconds(2);

}  // namespace

LoadProgress LogOfProgress(const Log& log, const Clock& clock) {
  return [&log, &clock, told = clock.Now()](int layers_done, int layers) mutable {
    const absl::Time now = clock.Now();
    if (now - told < kBetweenLines) return absl::OkStatus();
    told = now;
    log.Info("loading weights", {{"layers", layers_done}, {"of", layers}});
    return absl::OkStatus();
  };
}

}  // namespace ropeway::server
