// What the calls of a service share.
//
// Nothing here is owned; everything outlives the service's calls.
#ifndef ROPEWAY_SERVER_RPC_SERVICE_CONTEXT_H_
#define ROPEWAY_SERVER_RPC_SERVICE_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "engine/api/request.h"
#include "engine/base/clock.h"
#include "server/admission/admission.h"
#include "server/obs/health.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"
#include "server/rpc/live_requests.h"
#include "server/rpc/request_limits.h"
#include "server/rpc/served_model.h"
#include "server/rpc/worker_pool.h"
#include "server/stream/mailbox.h"
#include "server/stream/token_stream.h"

namespace ropeway {

// What exists only once the model is loaded. Constant.
struct Backend {
  const ServedModel& model;
  RequestLimits limits;
  StreamLimits stream;
  Mailbox& mailbox;
};

// There while the model loads, too.
struct ServiceContext {
  const Clock& clock;
  const Health& health;
  const Log& log;
  Metrics& metrics;
  Admission& admission;
  LiveRequests& live_requests;
  WorkerPool& preparing;
  WorkerPool& delivering;
  std::string version;
  absl::Time started;
  uint64_t random_key = 0;  // keys request names and the seeds of requests that bring none
  mutable std::atomic<RequestId> next_id = 1;
  std::atomic<const Backend*> backend = nullptr;  // null until the model is loaded
};

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_SERVICE_CONTEXT_H_
