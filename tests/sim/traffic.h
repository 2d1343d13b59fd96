// Random traffic against a Scheduler on a simulated clock, checked against a model of what every request must
// get.
#ifndef ROPEWAY_TESTS_SIM_TRAFFIC_H_
#define ROPEWAY_TESTS_SIM_TRAFFIC_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/api/step.h"
#include "engine/base/splitmix.h"
#include "engine/sched/scheduler.h"
#include "tests/testing/fake_executor.h"

namespace ropeway::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  int32_t Uniform(int32_t first, int32_t last) {  // both included
    return first + static_cast<int32_t>(UnitInterval(seed_, counter_++) * (last - first + 1));
  }
  bool OneIn(int32_t n) { return Uniform(1, n) == 1; }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

// What a request was told so far.
struct Told {
  struct Sample {
    std::vector<TokenId> tokens;
    std::vector<float> logprobs;
    std::optional<FinishReason> finish;
  };
  ValidRequest request;
  std::vector<Sample> samples;
  std::vector<float> prompt_logprobs;
  bool paused = false;
  bool done = false;
};

// Adds an event, and fails the test where it may not come after those before.
void Tell(Told& told, const TokenEvent& event);

// What `request` is told when it runs alone, with memory for everything.
Told RunAlone(const ValidRequest& request, const ExecutorLimits& limits);

// One server with its own limits, and what its clients do. Every member function fails the current test where
// something is not as it must be.
class Traffic {
 public:
  explicit Traffic(uint64_t seed);

  void Step();   // random commands, then one step and all checks
  void Drain();  // lets everything end, in bounded time, and checks that all pages are free

  int64_t num_requests() const { return static_cast<int64_t>(next_id_); }
  int64_t num_preemptions() const { return scheduler_.num_preemptions(); }
  int64_t num_evictions() const { return scheduler_.num_evictions(); }
  int64_t cached_tokens() const { return cached_tokens_; }
  // Planned while another one was in flight.
  int64_t num_steps_in_pairs() const { return num_steps_in_pairs_; }
  bool plans_ahead() const { return limits_.max_steps_in_flight > 1; }
  int32_t steps_when_lost() const { return steps_when_lost_; }

 private:
  void Command();
  void Arrive();
  void AppendKnownText(ValidRequest& request, int32_t most);
  void Remember(const Told& told);
  void Pause(RequestId id, bool paused);
  void RunStep();
  bool PlanStep();
  void CommitStep();
  void MayLoseExecutor();
  void Observe();
  void CheckEnd(const Told& told, const TokenEvent& last);
  RequestId AnyLive();

  Random random_;
  const ExecutorLimits limits_;
  Scheduler scheduler_;
  FakeExecutor executor_;
  absl::Time now_ = absl::UnixEpoch();
  std::map<RequestId, Told> live_;
  RequestId next_id_ = 0;
  const int32_t one_fails_in_;  // of how many steps
  std::deque<bool> fails_;      // of the steps in flight
  bool failed_step_ = false;
  const int64_t loses_at_;  // from which step on it loses its executor
  int64_t num_steps_ = 0;
  int32_t steps_when_lost_ = 0;  // that were in flight when it did; 0: it did not
  int64_t num_steps_in_pairs_ = 0;
  static constexpr int32_t kTexts = 6;
  std::vector<TokenId> texts_[kTexts];  // of requests that ended
  int64_t cached_tokens_ = 0;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_SIM_TRAFFIC_H_
