// The engine's thread: takes commands from the mailbox, plans a step, runs it, and publishes what came of it.
//
//   mailbox → Scheduler::Plan → Executor::Submit, Collect → Scheduler::Commit → text, stop strings → TokenStream
//
// Where the executor takes two steps at a time, the next one is planned and submitted while it computes this one. What
// only the host finds out then ends a sequence one step late: an end token, a stop string, a cancellation, a deadline. The
// row that is in flight by then comes to nothing.
//
// Whatever happens to a request that the mailbox accepted, its stream ends with exactly one chunk that
// carries `end`. A failed step ends the requests of that step only. While there is nothing to compute the
// thread sleeps.
#ifndef ROPEWAY_SERVER_LOOP_ENGINE_LOOP_H_
#define ROPEWAY_SERVER_LOOP_ENGINE_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "engine/api/step.h"
#include "engine/base/clock.h"
#include "engine/sched/scheduler.h"
#include "engine/text/tokenizer.h"
#include "server/obs/engine_observer.h"
#include "server/stream/mailbox.h"

namespace ropeway::server {

struct LoopOptions {
  SchedulerOptions scheduler;
  absl::Duration slow_reader_timeout =
      absl::Seconds(30);  // a reader that makes a request pause longer loses it
};

// Thread-safe.
class EngineLoop {
 public:
  // What the loop works with; all outlive it.
  struct Dependencies {
    Executor& executor;  // used by the engine's thread alone
    const Tokenizer& tokenizer;
    const Clock& clock;
    Mailbox& mailbox;
    EngineObserver& observer;
    // Both are called by the engine's thread, and may be null.
    std::function<void()> on_lost;                       // once, when the executor is lost
    std::function<void(const std::string&)> on_warning;  // with each StepResult::warning
  };

  // Starts the engine's thread.
  EngineLoop(const LoopOptions& options, const Dependencies& deps);
  // As Stop().
  ~EngineLoop();

  // Ends every request with UNAVAILABLE and the thread with them. Mailbox::Drain() and WaitUntilDrained()
  // before it let requests finish.
  void Stop();

  // Whether, after Mailbox::Drain(), every request ended within `patience`.
  bool WaitUntilDrained(absl::Duration patience);

  // The state after the last step. After the last request ended, used_pages is 0.
  EngineGauges stats() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_LOOP_ENGINE_LOOP_H_
