// What the calls share, whichever transport they come by.
//
// Nothing here is owned; everything outlives the calls. Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_FRONT_CONTEXT_H_
#define ROPEWAY_SERVER_FRONT_FRONT_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "engine/api/request.h"
#include "engine/base/clock.h"
#include "server/admission/admission.h"
#include "server/admission/key_accounts.h"
#include "server/config/request_limits.h"
#include "server/front/gate.h"
#include "server/front/prefix_salts.h"
#include "server/front/request_registry.h"
#include "server/front/served_model.h"
#include "server/front/worker_pool.h"
#include "server/front/write_watchdog.h"
#include "server/obs/health.h"
#include "server/obs/log.h"
#include "server/obs/metrics.h"
#include "server/stream/mailbox.h"
#include "server/stream/token_stream.h"

namespace ropeway::server {

// How the front reaches the engine, once the model is loaded. Constant.
struct EngineHandle {
  const ServedModel& model;
  RequestLimits limits;
  StreamLimits stream;
  Mailbox& mailbox;
  int32_t target_itl_ms = 0;
  // As Executor::RotationChoices.
  std::function<std::vector<double>(const AdmittedLengths& lengths)> rotation_choices =
      [](const AdmittedLengths&) { return std::vector<double>(); };
};

// There while the model loads, too.
struct FrontContext {
  // UNAVAILABLE until the model is loaded.
  absl::StatusOr<const EngineHandle*> LoadedEngine() const;
  // What chat templates that tell the date see.
  absl::CivilSecond LocalTime() const;

  const Clock& clock;
  const Health& health;
  const Log& log;
  Metrics& metrics;
  const Gate& gate;
  Admission& admission;
  KeyAccounts& key_accounts;
  RequestRegistry& requests;
  WorkerPool& preparing;
  WorkerPool& delivering;
  WriteWatchdog& write_watchdog;
  const PrefixSalts& prefix_salts;
  std::string version;
  absl::Time started;
  uint64_t random_key = 0;  // keys request names and the seeds of requests that bring none
  mutable std::atomic<RequestId> next_id = 1;
  std::atomic<const EngineHandle*> engine = nullptr;  // null until the model is loaded
};

// The answer to a call that finds too many others waiting to be prepared; with a retry hint.
absl::Status TooManyToPrepare();

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_FRONT_CONTEXT_H_
