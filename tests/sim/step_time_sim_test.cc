// Chunks of prompts by time, and what is foretold of requests, on machines whose steps take known times.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"
#include "engine/base/splitmix.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/timed_server.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

constexpr ExecutorLimits kLimits = {.num_pages = 4096,
                                    .max_tokens_per_step = 512,
                                    .max_rows_per_step = 256,
                                    .max_model_len = 16'384,
                                    .vocab_size = 1000};
constexpr absl::Duration kTarget = absl::Milliseconds(50);

struct NamedMachine {
  std::string name;
  Machine machine;
};

// Steps of eight streams alone take 7, 25, 5 and 41 ms on them.
std::vector<NamedMachine> Machines() {
  const MachineCosts small = {};
  const MachineCosts bound = {.weights = 24, .prompt_token = 0.4, .decode_row = 0.4};
  const MachineCosts fast = {.step = 4, .prompt_token = 0.02, .prompt_page = 0.00005, .decode_row = 0.1};
  const MachineCosts slow = {.step = 1, .prompt_token = 4, .prompt_page = 0.005, .decode_row = 5};
  const MachineCosts deep = {.prompt_token = 0.1, .prompt_page = 0.002};
  return {{"small", MakeMachine(small)},
          {"bound by memory", MakeMachine(bound)},
          {"fast", MakeMachine(fast)},
          {"slow", MakeMachine(slow)},
          {"costly attention", MakeMachine(deep)},
          {"noisy", WithNoise(MakeMachine(small), 0.2, absl::ZeroDuration())},
          {"losing its processor", WithNoise(MakeMachine(small), 0.1, absl::Milliseconds(20))}};
}

struct Outcome {
  absl::Duration worst_gap, p99_gap, p95_gap, mean_step;
  absl::Duration prompt_time;
};

ExecutorLimits WithStepsInFlight(int32_t steps) {
  ExecutorLimits limits = kLimits;
  limits.max_steps_in_flight = steps;
  return limits;
}

// Eight streams, which alone the server has seen so far, and then a prompt of 8,000 tokens.
Outcome RunLongPrompt(const Machine& machine, absl::Duration target, int32_t steps_in_flight = 1) {
  TimedServer server({.target_itl = target}, WithStepsInFlight(steps_in_flight), machine);
  std::vector<RequestId> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(server.Add(TimedServer::Request(40, 4000)));
  server.RunUntil([&] { return server.answer(streams.back()).tokens.size() >= 20; });
  const size_t steps_before = server.steps().size();
  const RequestId prompt = server.Add(TimedServer::Request(8000, 1));
  const absl::Time begin = server.now();
  server.RunUntil([&] { return server.answer(prompt).finish.has_value(); });
  std::vector<absl::Duration> gaps;
  for (const RequestId id : streams)
    for (const absl::Duration gap : Gaps(server.answer(id), begin, server.now() + absl::Nanoseconds(1)))
      gaps.push_back(gap);
  const auto num_steps = static_cast<int64_t>(server.steps().size() - steps_before);
  return {.worst_gap = Quantile(gaps, 1),
          .p99_gap = Quantile(gaps, 0.99),
          .p95_gap = Quantile(gaps, 0.95),
          .mean_step = (server.now() - begin) / num_steps,
          .prompt_time = server.answer(prompt).first_token()};
}

TEST(StepTimeSimTest, ALongPromptLeavesStreamsWithinOneAndAHalfTargets) {
  for (const NamedMachine& machine : Machines()) {
    SCOPED_TRACE(machine.name);
    const Outcome timed = RunLongPrompt(machine.machine, kTarget);
    const Outcome untimed = RunLongPrompt(machine.machine, absl::ZeroDuration());
    std::cout << machine.name << ": p99 " << timed.p99_gap << ", worst " << timed.worst_gap << ", mean step "
              << timed.mean_step << ", prompt " << timed.prompt_time << "; without a target p99 "
              << untimed.p99_gap << ", prompt " << untimed.prompt_time << "\n";
    EXPECT_LE(timed.p99_gap, 1.5 * kTarget);
    // It is not bought by chunks that are smaller than they need to be.
    const bool needed = untimed.p99_gap > kTarget;
    EXPECT_TRUE(!needed || timed.mean_step >= 0.6 * kTarget) << timed.mean_step;
  }
}

// What the first chunk took is known when the second one is in flight, so that two steps may be as wrong as the first
// costs are.
TEST(StepTimeSimTest, ALongPromptLeavesStreamsInTimeWithTwoStepsInFlight) {
  for (const NamedMachine& machine : Machines()) {
    SCOPED_TRACE(machine.name);
    const Outcome timed = RunLongPrompt(machine.machine, kTarget, kMaxStepsInFlight);
    const Outcome alone = RunLongPrompt(machine.machine, kTarget);
    EXPECT_LE(timed.p95_gap, 1.5 * kTarget);
    EXPECT_LE(timed.prompt_time, 1.3 * alone.prompt_time);
  }
}

// What a machine with two steps in flight is said to take is what it takes.
TEST(StepTimeSimTest, CostsAreThoseOfOneStepHoweverManyAreInFlight) {
  for (const int32_t steps : {1, kMaxStepsInFlight}) {
    TimedServer server({}, WithStepsInFlight(steps), MakeMachine({.step = 10}));
    server.Add(TimedServer::Request(40, 200));
    server.RunUntilIdle();
    EXPECT_LT(server.scheduler().costs().error(), 0.01);
    const absl::Duration step = server.steps().back().duration;
    StepWork work;
    work.AddDecode(238);
    EXPECT_NEAR(absl::FDivDuration(server.scheduler().costs().Predict(work), step), 1, 0.02);
  }
}

// That the machines are such that without a target the test above would fail.
TEST(StepTimeSimTest, WithoutATargetStreamsWait) {
  EXPECT_GT(RunLongPrompt(MakeMachine({}), absl::ZeroDuration()).p99_gap, 2 * kTarget);
}

TEST(StepTimeSimTest, WhereNobodyStreamsChunksAreAsLargeAsMayBe) {
  TimedServer server({.target_itl = kTarget}, kLimits, MakeMachine({}));
  server.Add(TimedServer::Request(8000, 1));
  server.RunUntilIdle();
  EXPECT_EQ(server.steps().size(), 16u);
  EXPECT_EQ(server.steps().front().tokens, 512);
}

// Decodes alone take longer than the target: nothing can be promised, and prompts still go on.
TEST(StepTimeSimTest, PromptsGoOnHoweverSlowStepsAre) {
  TimedServer server({.target_itl = absl::Milliseconds(1)}, kLimits, MakeMachine({.weights = 300}));
  const RequestId stream = server.Add(TimedServer::Request(40, 1000));
  server.RunUntil([&] { return server.answer(stream).tokens.size() >= 20; });
  const RequestId prompt = server.Add(TimedServer::Request(2000, 1));
  const absl::Time begin = server.now();
  server.RunUntil([&] { return server.answer(prompt).finish.has_value(); });
  EXPECT_LT(Quantile(Gaps(server.answer(stream), begin, server.now()), 0.99), absl::Milliseconds(301 * 1.5));
  EXPECT_LT(server.answer(prompt).first_token(), absl::Seconds(20));
}

// Prompts with log-probabilities cost more a token.
TEST(StepTimeSimTest, ScoredPromptsKeepTheTargetToo) {
  const Machine machine = [plain = MakeMachine({})](const StepPlan& plan) {
    absl::Duration duration = plain(plan);
    for (const ScoreRow& row : plan.score_rows)
      duration += absl::Milliseconds(1.5) * static_cast<double>(row.next_tokens.size());
    return duration;
  };
  TimedServer server({.target_itl = kTarget}, kLimits, machine);
  const RequestId stream = server.Add(TimedServer::Request(40, 4000));
  server.RunUntil([&] { return server.answer(stream).tokens.size() >= 20; });
  server.Add(TimedServer::Request(1000, 1));
  server.RunUntil([&] { return server.scheduler().num_running() == 1; });
  ValidRequest scored = TimedServer::Request(4000, 1);
  scored.prompt_logprobs = 1;
  const absl::Time begin = server.now();
  const RequestId prompt = server.Add(scored);
  server.RunUntil([&] { return server.answer(prompt).finish.has_value(); });
  EXPECT_LE(Quantile(Gaps(server.answer(stream), begin, server.now()), 0.99), 1.5 * kTarget);
}

// Tokens, whatever the target and whatever steps take.
TEST(StepTimeSimTest, TokensDoNotDependOnTime) {
  std::vector<std::vector<std::vector<TokenId>>> told;
  for (const absl::Duration target : {absl::ZeroDuration(), absl::Milliseconds(3), kTarget}) {
    for (const NamedMachine& machine : Machines()) {
      TimedServer server({.target_itl = target}, kLimits, machine.machine);
      std::vector<RequestId> ids;
      for (int i = 0; i < 6; ++i) {
        ValidRequest request = TimedServer::Request(100 + 700 * i, 60);
        request.sampling.seed = static_cast<uint64_t>(i);
        request.prefix_salt = PrefixSalt{1, 2};
        ids.push_back(server.Add(std::move(request)));
        server.RunUntil([&] { return server.answer(ids.back()).tokens.size() >= 3; });
      }
      server.RunUntilIdle();
      std::vector<std::vector<TokenId>> tokens;
      for (const RequestId id : ids) tokens.push_back(server.answer(id).ids);
      told.push_back(std::move(tokens));
    }
  }
  for (const auto& tokens : told) EXPECT_EQ(tokens, told.front());
}

// ---- Deadlines ----

class DeadlineTest : public ::testing::Test {
 protected:
  // Lets the server measure its machine.
  void Warm() {
    for (int i = 0; i < 3; ++i) {
      server_.Add(TimedServer::Request(1000, 20));
      server_.RunUntilIdle();
    }
  }

  ValidRequest Until(absl::Duration left, ValidRequest request) {
    request.deadline = server_.now() + left;
    return request;
  }

  TimedServer server_{{.max_running = 8, .target_itl = kTarget}, kLimits, MakeMachine({})};
};

TEST_F(DeadlineTest, ARequestThatCannotBeMetIsRefusedWithTheEstimateAndAHint) {
  Warm();
  // About 2.6 s for the prompt.
  const RequestId hopeless = server_.Add(Until(absl::Milliseconds(500), TimedServer::Request(8000, 10)));
  const absl::Status& refused = server_.answer(hopeless).refused;
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("the deadline in 500ms cannot be met: the first token is expected in")));
  ASSERT_TRUE(RetryHint(refused).has_value());
  EXPECT_GT(*RetryHint(refused), absl::Seconds(1));
  EXPECT_LT(*RetryHint(refused), absl::Seconds(4));
  EXPECT_EQ(server_.scheduler().num_deadline_refusals(), 1);
  const RequestId feasible = server_.Add(Until(absl::Seconds(5), TimedServer::Request(8000, 10)));
  EXPECT_OK(server_.answer(feasible).refused);
  server_.RunUntilIdle();
  EXPECT_EQ(server_.answer(feasible).finish, FinishReason::kLength);
}

TEST_F(DeadlineTest, MinTokensCount) {
  Warm();
  ValidRequest request = TimedServer::Request(100, 1000);
  request.min_tokens = 1000;
  EXPECT_THAT(server_.answer(server_.Add(Until(absl::Milliseconds(800), request))).refused,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("min_tokens in")));
  request.min_tokens = 0;  // what comes until the deadline may be enough
  EXPECT_OK(server_.answer(server_.Add(Until(absl::Milliseconds(800), request))).refused);
}

TEST_F(DeadlineTest, AQueueMakesItLate) {
  Warm();
  for (int i = 0; i < 40; ++i) {
    ValidRequest first = TimedServer::Request(500, 200);
    first.priority = 1;
    server_.Add(first);
  }
  server_.Step();
  EXPECT_THAT(server_.answer(server_.Add(Until(absl::Seconds(1), TimedServer::Request(50, 10)))).refused,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  ValidRequest urgent = TimedServer::Request(50, 10);
  urgent.priority = 1;
  const RequestId patient = server_.Add(Until(absl::Seconds(60), urgent));
  EXPECT_OK(server_.answer(patient).refused);
  server_.RunUntilIdle();
  EXPECT_EQ(server_.answer(patient).finish, FinishReason::kLength);
}

TEST_F(DeadlineTest, ThePrefixCacheMakesItFeasible) {
  Warm();
  ValidRequest request = TimedServer::Request(8000, 10);
  request.prefix_salt = PrefixSalt{1, 2};
  EXPECT_FALSE(server_.answer(server_.Add(Until(absl::Milliseconds(500), request))).refused.ok());
  server_.Add(request);
  server_.RunUntilIdle();
  const RequestId id = server_.Add(Until(absl::Milliseconds(500), request));
  EXPECT_OK(server_.answer(id).refused);
  server_.RunUntilIdle();
  EXPECT_EQ(server_.answer(id).finish, FinishReason::kLength);
}

TEST_F(DeadlineTest, NobodyIsRefusedBeforeAnythingWasMeasured) {
  const RequestId id = server_.Add(Until(absl::Milliseconds(500), TimedServer::Request(8000, 10)));
  EXPECT_OK(server_.answer(id).refused);
  server_.RunUntilIdle();
  EXPECT_EQ(server_.answer(id).finish, FinishReason::kDeadline);
}

// What was slow once is tried again, else a server would refuse for ever what it could do by now.
TEST_F(DeadlineTest, OldMeasurementsRefuseNobody) {
  Warm();
  EXPECT_FALSE(server_.answer(server_.Add(Until(absl::Milliseconds(500), TimedServer::Request(8000, 10))))
                   .refused.ok());
  server_.Advance(absl::Seconds(11));
  EXPECT_OK(
      server_.answer(server_.Add(Until(absl::Milliseconds(500), TimedServer::Request(8000, 10)))).refused);
}

TEST_F(DeadlineTest, TheEarliestDeadlineComesFirstWithinAPriority) {
  for (int i = 0; i < 8; ++i) server_.Add(TimedServer::Request(20, 100 + 20 * i));
  server_.Step();  // all places are taken
  const RequestId none = server_.Add(TimedServer::Request(20, 5));
  const RequestId late = server_.Add(Until(absl::Seconds(100), TimedServer::Request(20, 5)));
  const RequestId soon = server_.Add(Until(absl::Seconds(50), TimedServer::Request(20, 5)));
  ValidRequest request = TimedServer::Request(20, 5);
  request.priority = 1;
  const RequestId urgent = server_.Add(request);
  server_.RunUntilIdle();
  const auto queued = [&](RequestId id) {
    return server_.answer(id).receipt.queue + server_.answer(id).arrival;
  };
  EXPECT_LT(queued(urgent), queued(soon));
  EXPECT_LT(queued(soon), queued(late));
  EXPECT_LT(queued(late), queued(none));
}

// Whoever waits past its deadline costs no step.
TEST_F(DeadlineTest, WhoExpiresInTheQueueIsNotComputed) {
  for (int i = 0; i < 8; ++i) server_.Add(TimedServer::Request(20, 200));
  server_.Step();
  const RequestId id = server_.Add(Until(absl::Milliseconds(100), TimedServer::Request(3000, 5)));
  ASSERT_OK(server_.answer(id).refused);
  server_.RunUntil([&] { return server_.answer(id).finish.has_value(); });
  EXPECT_EQ(server_.answer(id).finish, FinishReason::kDeadline);
  EXPECT_EQ(server_.answer(id).receipt.computed_tokens, 0);
  for (const TimedServer::StepSize& step : server_.steps()) EXPECT_LE(step.tokens, 8 * 20);
}

// ---- Forecasts ----

class ForecastSimTest : public ::testing::TestWithParam<int32_t> {};

INSTANTIATE_TEST_SUITE_P(StepsInFlight, ForecastSimTest, ::testing::Range(1, kMaxStepsInFlight + 1));

// First tokens of random traffic come about when they were expected.
TEST_P(ForecastSimTest, FirstTokensComeAboutWhenTheyWereExpected) {
  for (const NamedMachine& machine : Machines()) {
    SCOPED_TRACE(machine.name);
    TimedServer server({.max_running = 16, .target_itl = kTarget}, WithStepsInFlight(GetParam()),
                       machine.machine);
    std::vector<RequestId> ids;
    auto uniform = [&, counter = uint64_t{0}](int32_t first, int32_t last) mutable {
      return first + static_cast<int32_t>(UnitInterval(3, counter++) * (last - first + 1));
    };
    for (int i = 0; i < 400; ++i) {
      ids.push_back(server.Add(TimedServer::Request(uniform(10, i % 5 == 0 ? 3000 : 200), uniform(1, 100))));
      for (int step = uniform(0, 25); step > 0; --step) server.Step();
    }
    server.RunUntilIdle();
    std::vector<double> ratios;
    for (const RequestId id : ids) {
      const TimedServer::Answer& answer = server.answer(id);
      if (!answer.receipt.expected_first_token.has_value()) continue;
      ratios.push_back(absl::FDivDuration(answer.first_token(), *answer.receipt.expected_first_token));
    }
    ASSERT_GT(ratios.size(), 350u);
    std::sort(ratios.begin(), ratios.end());
    const auto at = [&](double q) {
      return ratios[static_cast<size_t>(q * static_cast<double>(ratios.size() - 1))];
    };
    std::cout << machine.name << ": actual / expected p10 " << at(0.1) << ", p50 " << at(0.5) << ", p90 "
              << at(0.9) << "\n";
    EXPECT_GT(at(0.5), 0.8);
    EXPECT_LT(at(0.5), 1.25);
    EXPECT_GT(at(0.1), 0.3);
    EXPECT_LT(at(0.9), 3);
  }
}

TEST_P(ForecastSimTest, TellsPagesCachedTokensAndTimesWithoutTakingAnything) {
  TimedServer server({.target_itl = kTarget}, WithStepsInFlight(GetParam()), MakeMachine({}));
  ValidRequest request = TimedServer::Request(1000, 32);
  request.prefix_salt = PrefixSalt{1, 2};
  request.num_samples = 3;
  ASSERT_OK_AND_ASSIGN(const Forecast cold, server.scheduler().Predict(request, server.now()));
  EXPECT_EQ(cold.cached_tokens, 0);
  EXPECT_EQ(cold.pages, 62 + 3 * 3);  // 1,031 tokens are 65 pages, 62 of which are the prompt's
  EXPECT_EQ(cold.expected_tokens, 32);
  EXPECT_FALSE(cold.times.has_value()) << "nothing was measured";
  server.Add(request);
  server.RunUntilIdle();
  ASSERT_OK_AND_ASSIGN(const Forecast warm, server.scheduler().Predict(request, server.now()));
  EXPECT_EQ(warm.cached_tokens, 992);
  ASSERT_TRUE(warm.times.has_value());
  EXPECT_LT(warm.times->first_token, absl::Milliseconds(30));
  EXPECT_GT(warm.times->end, warm.times->first_token + 20 * warm.times->next_token);
  EXPECT_TRUE(server.scheduler().empty());
  request.deadline = server.now() + absl::Milliseconds(1);
  request.prompt[0] = 998;  // known to nobody
  ASSERT_OK_AND_ASSIGN(const Forecast late, server.scheduler().Predict(request, server.now()));
  EXPECT_THAT(late.refusal, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  request.deadline = server.now() - absl::Milliseconds(1);  // it passed on the way
  ASSERT_OK_AND_ASSIGN(const Forecast passed, server.scheduler().Predict(request, server.now()));
  EXPECT_THAT(passed.refusal, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot be met")));
  request.max_tokens = 0;
  EXPECT_THAT(server.scheduler().Predict(request, server.now()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_tokens")));
}

// Steps of single tokens tell what a step costs, and nothing of what prompts do.
TEST_P(ForecastSimTest, TellsNoTimesOfPromptsFarLargerThanAnySoFar) {
  TimedServer server({.target_itl = kTarget}, WithStepsInFlight(GetParam()), MakeMachine({}));
  server.Add(TimedServer::Request(2, 100));
  server.RunUntilIdle();
  const auto times = [&](int32_t prompt) {
    const auto forecast = server.scheduler().Predict(TimedServer::Request(prompt, 10), server.now());
    EXPECT_OK(forecast);
    return forecast.ok() ? forecast->times : std::nullopt;
  };
  EXPECT_TRUE(times(32).has_value());
  EXPECT_FALSE(times(33).has_value());
  EXPECT_FALSE(times(3000).has_value());
  server.Add(TimedServer::Request(1000, 20));
  server.RunUntilIdle();
  const absl::Duration whole = absl::Milliseconds(0.3) * 3000;
  ASSERT_TRUE(times(3000).has_value());
  EXPECT_GT(times(3000)->first_token, whole * 0.7);
  EXPECT_LT(times(3000)->first_token, whole * 1.5);
}

}  // namespace
}  // namespace ropeway::testing
