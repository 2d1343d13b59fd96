// A million steps of random traffic: arrivals, cancellations, deadlines, pauses, parallel samples, more
// requests than pages, failing steps; half of the servers plan a step while another is in flight. After each step the
// scheduler's invariants are checked; every request must get the tokens that it gets alone, and exactly one end.
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

constexpr int64_t kDefaultSteps = kSlowBuild ? 50'000 : 1'000'000;
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
  }
  std::cout << "seed " << seed << ": " << steps << " steps, " << requests << " requests, " << preemptions
            << " preemptions, " << cached_tokens << " tokens found in the cache, " << evictions
            << " evictions, " << steps_in_pairs << " steps planned beside one in flight\n";
  EXPECT_GT(preemptions, steps / 1000);
  EXPECT_GT(evictions, steps / 1000);
  EXPECT_GT(cached_tokens, steps / 100);
  EXPECT_GT(steps_in_pairs, steps / 10);
}

}  // namespace
}  // namespace ropeway::testing
