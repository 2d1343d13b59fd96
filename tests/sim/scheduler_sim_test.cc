// A million steps of random traffic in servers that plan a step while another is in flight, and some in others: arrivals,
// cancellations, deadlines, pauses, parallel samples, more requests than pages, failing steps, devices that are lost with
// steps in flight. After each step the scheduler's invariants are checked; every request must get the tokens that it gets
// alone, and exactly one end.
//
// ROPEWAY_SIM_SEED=n repeats a run; ROPEWAY_SIM_STEPS=n sets its length.
#include <cstdlib>
#include <iostream>
#include <string>

#include "gtest/gtest.h"
#include "tests/sim/traffic.h"
#include "tests/testing/patience.h"

namespace ropeway::testing {
namespace {

constexpr int64_t kDefaultSteps = kSlowBuild ? 50'000 : 1'200'000;
constexpr int64_t kStepsPerServer = 1000;

int64_t FromEnvironment(const char* name, int64_t or_default) {
  const char* value = std::getenv(name);
  return value == nullptr ? or_default : std::stoll(value);
}

TEST(SchedulerSimTest, EveryRequestGetsWhatItGetsAloneAndOneEnd) {
  const uint64_t seed = FromEnvironment("ROPEWAY_SIM_SEED", 20'240'607);
  const int64_t steps = FromEnvironment("ROPEWAY_SIM_STEPS", kDefaultSteps);
  int64_t requests = 0;
  int64_t preemptions = 0;
  int64_t evictions = 0;
  int64_t cached_tokens = 0;
  int64_t steps_in_pairs = 0;
  int64_t steps_of_pipelines = 0;  // of servers that plan ahead
  int64_t lost_pipelines = 0;      // that lost their device with two steps in flight
  for (int64_t server = 0; server * kStepsPerServer < steps && !HasFailure(); ++server) {
    SCOPED_TRACE("ROPEWAY_SIM_SEED=" + std::to_string(seed) + ", server " + std::to_string(server));
    Traffic traffic(SplitMix(seed + server));
    for (int64_t i = 0; i < kStepsPerServer && !HasFailure(); ++i) traffic.Step();
    if (!HasFailure()) traffic.Drain();
    requests += traffic.num_requests();
    preemptions += traffic.num_preemptions();
    evictions += traffic.num_evictions();
    cached_tokens += traffic.cached_tokens();
    steps_in_pairs += traffic.num_steps_in_pairs();
    steps_of_pipelines += traffic.plans_ahead() ? kStepsPerServer : 0;
    lost_pipelines += traffic.steps_when_lost() > 1;
  }
  std::cout << "seed " << seed << ": " << steps << " steps, " << requests << " requests, " << preemptions
            << " preemptions, " << cached_tokens << " tokens found in the cache, " << evictions
            << " evictions, " << steps_of_pipelines << " steps in servers that plan ahead, " << steps_in_pairs
            << " of them beside one in flight, " << lost_pipelines << " devices lost with two in flight\n";
  EXPECT_GT(preemptions, steps / 1000);
  EXPECT_GT(evictions, steps / 1000);
  EXPECT_GT(cached_tokens, steps / 100);
  EXPECT_GT(steps_of_pipelines, steps < 1'000'000 ? steps * 3 / 4 : steps * 5 / 6);  // a million by default
  EXPECT_GT(steps_in_pairs, steps * 2 / 5);
  EXPECT_GT(lost_pipelines, steps / kStepsPerServer / 20);
}

}  // namespace
}  // namespace ropeway::testing
