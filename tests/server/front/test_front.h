// All that the calls of the front end need, around a ServedModel of bytes and a mailbox that a test empties.
#ifndef ROPEWAY_TESTS_SERVER_FRONT_TEST_FRONT_H_
#define ROPEWAY_TESTS_SERVER_FRONT_TEST_FRONT_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "server/admission/admission.h"
#include "server/auth/authenticator.h"
#include "server/front/front_context.h"
#include "server/front/gate.h"
#include "tests/server/front/test_model.h"

namespace ropeway::server::testing {

struct TestFrontOptions {
  const Clock& clock;
  AdmissionLimits admission = {};
  int32_t max_model_len = 100;
  absl::Duration write_timeout = absl::Hours(1);
};

// Members are in the order of construction. `context` has no engine until a test gives it `engine`.
struct TestFront {
  explicit TestFront(const TestFrontOptions& options)
      : clock(options.clock),
        admission(options.admission),
        engine{.model = model,
               .limits = {.max_model_len = options.max_model_len},
               .stream = {},
               .mailbox = mailbox},
        write_watchdog(options.write_timeout) {}

  const Clock& clock;
  Health health;
  const Log log{LogLevel::kError};
  Metrics metrics{"bytes"};
  const Authenticator authenticator;
  const Gate gate{authenticator, clock, log, metrics, "grpc"};
  Admission admission;
  KeyAccounts key_accounts;
  RequestRegistry requests;
  Mailbox mailbox{64};
  const ServedModel model = MakeTestModel();
  const EngineHandle engine;
  WorkerPool preparing{1, 64};
  WorkerPool delivering{1, SIZE_MAX};
  WriteWatchdog write_watchdog;
  const PrefixSalts prefix_salts{PrefixCache::kOff, ""};
  FrontContext context = {.clock = clock,
                          .health = health,
                          .log = log,
                          .metrics = metrics,
                          .gate = gate,
                          .admission = admission,
                          .key_accounts = key_accounts,
                          .requests = requests,
                          .preparing = preparing,
                          .delivering = delivering,
                          .write_watchdog = write_watchdog,
                          .prefix_salts = prefix_salts,
                          .version = "1.2.3"};
};

}  // namespace ropeway::server::testing

#endif  // ROPEWAY_TESTS_SERVER_FRONT_TEST_FRONT_H_
