// A scheduler on a machine whose steps take a known time, on a simulated clock.
#ifndef ROPEWAY_TESTS_SIM_TIMED_SERVER_H_
#define ROPEWAY_TESTS_SIM_TIMED_SERVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/api/step.h"
#include "engine/base/check.h"
#include "engine/sched/scheduler.h"
#include "tests/testing/fake_executor.h"

namespace ropeway::testing {

// How long a step takes.
using Machine = std::function<absl::Duration(const StepPlan&)>;

// Milliseconds of the parts of a step; a machine that reads its weights once a step, and then computes.
struct MachineCosts {
  double step = 1;
  double weights = 0;  // of a step with any rows, unless computing them takes longer
  double prompt_token = 0.3;
  double prompt_page = 0.0006;
  double decode_row = 0.5;
  double context_page = 0.003;
};
Machine MakeMachine(const MachineCosts& costs);

// Each step takes up to `part` more or less, and one in a hundred loses its processor for `lost`.
Machine WithNoise(Machine machine, double part, absl::Duration lost);

class TimedServer {
 public:
  struct Answer {
    absl::Status refused;  // where it was not taken
    absl::Time arrival;
    std::vector<absl::Time> tokens;  // when each token of sample 0 came
    std::vector<TokenId> ids;        // and which
    std::optional<FinishReason> finish;
    Receipt receipt;

    absl::Duration first_token() const {
      ROPEWAY_CHECK(!tokens.empty());
      return tokens.front() - arrival;
    }
  };

  TimedServer(const SchedulerOptions& options, const ExecutorLimits& limits, Machine machine);

  // A request of `prompt` tokens, no two of them alike, which ends at `answer` tokens.
  static ValidRequest Request(int32_t prompt, int32_t answer);

  // Gives the request an id, and now as its arrival.
  RequestId Add(ValidRequest request);
  // Plans a step, where there is one and the machine takes it, and waits for the oldest one where it takes no more.
  // False where there was nothing to compute.
  bool Step();
  // Run steps until then. End the program where the scheduler stalls before.
  void RunUntil(const std::function<bool()>& done);
  void RunUntilIdle();

  Scheduler& scheduler() { return scheduler_; }
  const Answer& answer(RequestId id) const { return answers_.at(id); }
  absl::Time now() const { return now_; }
  void Advance(absl::Duration duration) { now_ += duration; }
  // Tokens and rows of the steps that were run.
  struct StepSize {
    int32_t tokens = 0;
    int32_t rows = 0;
    absl::Duration duration;
  };
  const std::vector<StepSize>& steps() const { return steps_; }

 private:
  bool PlanStep();
  void CommitStep();
  void Observe();

  FakeExecutor executor_;
  Scheduler scheduler_;
  const Machine machine_;
  const int32_t max_steps_in_flight_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::deque<absl::Time> done_;  // when the steps in flight will be, oldest first
  RequestId next_id_ = 1;
  std::map<RequestId, Answer> answers_;
  std::vector<StepSize> steps_;
};

// The part `q` of the values are at most this.
absl::Duration Quantile(std::vector<absl::Duration> values, double q);

// From one token to the next, of tokens that came in [begin, end).
std::vector<absl::Duration> Gaps(const TimedServer::Answer& answer, absl::Time begin, absl::Time end);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_SIM_TIMED_SERVER_H_
