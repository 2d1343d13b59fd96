#include "tests/sim/traffic.h"

#include <algorithm>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::testing {
namespace {

constexpr TokenId kEnd = 3;
constexpr int32_t kVocabulary = 61;

ExecutorLimits RandomLimits(Random& random) {
  ExecutorLimits limits = {.num_pages = random.Uniform(8, 48),
                           .max_tokens_per_step = random.Uniform(1, 64),
                           .max_rows_per_step = random.Uniform(1, 12),
                           .max_model_len = random.Uniform(40, 150),
                           .vocab_size = kVocabulary,
                           .max_steps_in_flight = random.OneIn(8) ? 1 : kMaxStepsInFlight};
  if (random.OneIn(2)) limits.max_tokens_per_step = random.Uniform(16, 64);
  return limits;
}

SchedulerOptions RandomOptions(Random& random) {
  return {.max_running = random.Uniform(1, 16),
          .max_requests = random.Uniform(1, 32),
          .max_prefilling = random.Uniform(1, 4),
          .target_itl = absl::Milliseconds(random.OneIn(2) ? random.Uniform(1, 5) : 0)};
}

bool IsPrefix(const std::vector<TokenId>& part, const std::vector<TokenId>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

}  // namespace

void Tell(Told& told, const TokenEvent& event) {
  ASSERT_FALSE(told.done);
  ASSERT_LT(event.sample, told.samples.size());
  Told::Sample& sample = told.samples[event.sample];
  ASSERT_FALSE(sample.finish.has_value());
  for (const TokenLogprobs& logprobs : event.prompt_logprobs) told.prompt_logprobs.push_back(logprobs.chosen);
  if (event.token != kNoToken) sample.tokens.push_back(event.token);
  if (event.logprobs.has_value()) sample.logprobs.push_back(event.logprobs->chosen);
  sample.finish = event.sample_finish;
  told.done = event.request_done;
}

Told RunAlone(const ValidRequest& request, const ExecutorLimits& limits) {
  ExecutorLimits ample = limits;
  ample.num_pages = 4096;
  ample.max_rows_per_step = 64;
  ample.max_tokens_per_step = 256;
  ample.max_steps_in_flight = 1;
  Scheduler scheduler({}, ample);
  FakeExecutor executor(ample);
  Told told = {.request = request};
  told.samples.resize(request.num_samples);
  ValidRequest patient = request;
  patient.deadline = absl::InfiniteFuture();
  EXPECT_TRUE(scheduler.Add(std::move(patient), absl::UnixEpoch()).ok());
  while (!scheduler.empty()) {
    const StepPlan plan = scheduler.Plan(absl::UnixEpoch());
    scheduler.Commit(executor.Step(plan), absl::UnixEpoch());
    for (const TokenEvent& event : scheduler.TakeEvents()) Tell(told, event);
  }
  EXPECT_EQ(scheduler.num_preemptions(), 0);
  return told;
}

Traffic::Traffic(uint64_t seed)
    : random_(seed),
      limits_(RandomLimits(random_)),
      scheduler_(RandomOptions(random_), limits_),
      executor_(limits_),
      one_fails_in_(random_.OneIn(10) ? 10 : 1000),
      loses_at_(random_.OneIn(10) ? random_.Uniform(1, 1000) : INT64_MAX) {}

void Traffic::Step() {
  now_ += absl::Milliseconds(random_.Uniform(0, 10));
  while (random_.OneIn(3)) Command();
  RunStep();
}

void Traffic::Command() {
  if (live_.empty() || random_.OneIn(3)) return Arrive();
  const RequestId id = AnyLive();
  switch (random_.Uniform(0, 7)) {
    case 0:
      return scheduler_.Cancel(id, now_);
    case 1:
      return scheduler_.Finish(id, random_.Uniform(0, live_.at(id).request.num_samples - 1), now_);
    case 2:
    case 3:
      return Pause(id, true);
    default:
      return Pause(id, false);
  }
}

void Traffic::Pause(RequestId id, bool paused) {
  scheduler_.SetPaused(id, paused);
  live_.at(id).paused = paused;
}

void Traffic::Arrive() {
  ValidRequest request = {.id = next_id_++};
  const int32_t prompt_size = random_.Uniform(1, random_.OneIn(4) ? 120 : 40);
  AppendKnownText(request, prompt_size);
  while (request.prompt.size() < prompt_size) request.prompt.push_back(random_.Uniform(0, kVocabulary - 1));
  request.sampling.seed = random_.Uniform(0, 1000);
  request.max_tokens = random_.Uniform(1, 40);
  request.min_tokens = random_.OneIn(3) ? random_.Uniform(0, request.max_tokens) : 0;
  if (random_.OneIn(2)) request.stop_token_ids = {kEnd, random_.Uniform(0, kVocabulary - 1)};
  if (random_.OneIn(3)) request.num_samples = random_.Uniform(1, 4);
  if (random_.OneIn(4)) request.prompt_logprobs = random_.Uniform(0, 2);
  if (random_.OneIn(4)) request.sampling.num_logprobs = random_.Uniform(0, 2);
  request.arrival = now_;
  if (random_.OneIn(4)) request.deadline = now_ + absl::Milliseconds(random_.Uniform(0, 400));
  request.tenant = std::string(1, 'a' + random_.Uniform(0, 3));
  request.priority = random_.Uniform(-1, 1);
  Told told = {.request = request};
  told.samples.resize(request.num_samples);
  if (scheduler_.Add(request, now_).ok()) live_[request.id] = std::move(told);
}

// Most requests begin as others did, with what was asked or with what was answered, and some of them may
// know.
void Traffic::AppendKnownText(ValidRequest& request, int32_t most) {
  if (random_.OneIn(3)) return;
  request.prefix_salt = PrefixSalt{static_cast<uint64_t>(random_.Uniform(0, 1)), 7};
  const std::vector<TokenId>& text = texts_[random_.Uniform(0, kTexts - 1)];
  const int32_t size = std::min({random_.Uniform(0, 120), most, static_cast<int32_t>(text.size())});
  request.prompt.assign(text.begin(), text.begin() + size);
}

void Traffic::RunStep() {
  failed_step_ = false;
  const bool has_room = scheduler_.num_steps_in_flight() < limits_.max_steps_in_flight;
  const bool waits = scheduler_.num_steps_in_flight() > 0 && random_.OneIn(8);
  const bool planned = has_room && !waits && PlanStep();
  MayLoseExecutor();
  const bool full = scheduler_.num_steps_in_flight() == limits_.max_steps_in_flight;
  if (scheduler_.num_steps_in_flight() == 0) {
    Observe();
    for (const auto& [id, told] : live_) ASSERT_TRUE(told.paused) << "nothing is planned for request " << id;
  } else if (full || !planned) {
    CommitStep();
  }
  Observe();
  scheduler_.CheckInvariants();
}

bool Traffic::PlanStep() {
  const bool is_second = scheduler_.num_steps_in_flight() > 0;
  const StepPlan plan = scheduler_.Plan(now_);
  if (plan.empty()) return false;
  num_steps_in_pairs_ += is_second;
  fails_.push_back(random_.OneIn(one_fails_in_));
  if (fails_.back()) executor_.FailNextStep(absl::InternalError("as the test wants"));
  executor_.Submit(plan);
  return true;
}

// With as many steps in flight as there may be, of which none is told any more.
void Traffic::MayLoseExecutor() {
  const int32_t in_flight = scheduler_.num_steps_in_flight();
  if (++num_steps_ < loses_at_ || executor_.lost() || in_flight < limits_.max_steps_in_flight) return;
  steps_when_lost_ = in_flight;
  executor_.Lose(absl::InternalError("as the test wants"));
}

void Traffic::CommitStep() {
  now_ += absl::Milliseconds(random_.Uniform(0, 3));
  failed_step_ = fails_.front() || executor_.lost();
  fails_.pop_front();
  scheduler_.Commit(executor_.Collect(), now_);
}

void Traffic::Observe() {
  for (const TokenEvent& event : scheduler_.TakeEvents()) {
    const auto found = live_.find(event.request_id);
    ASSERT_NE(found, live_.end());
    Tell(found->second, event);
    ASSERT_EQ(event.error.ok(), event.sample_finish != FinishReason::kError);
    ASSERT_TRUE(event.error.ok() || failed_step_);
    ASSERT_TRUE(event.token == kNoToken || !executor_.lost());
    if (!event.request_done) continue;
    CheckEnd(found->second, event);
    cached_tokens_ += event.receipt.cached_tokens;
    Remember(found->second);
    live_.erase(found);
  }
}

void Traffic::CheckEnd(const Told& told, const TokenEvent& last) {
  const Told alone = RunAlone(told.request, limits_);
  for (size_t s = 0; s < told.samples.size(); ++s) {
    const Told::Sample& sample = told.samples[s];
    ASSERT_TRUE(sample.finish.has_value());
    ASSERT_TRUE(IsPrefix(sample.tokens, alone.samples[s].tokens));
    ASSERT_EQ(sample.logprobs.size(), told.request.sampling.num_logprobs >= 0 ? sample.tokens.size() : 0);
    ASSERT_TRUE(
        std::equal(sample.logprobs.begin(), sample.logprobs.end(), alone.samples[s].logprobs.begin()));
    const bool full = sample.tokens.size() == told.request.max_tokens;
    ASSERT_TRUE(sample.finish != FinishReason::kLength || full);
    ASSERT_TRUE(sample.finish != FinishReason::kDeadline || told.request.deadline <= now_);
  }
  const bool started = !told.samples[0].tokens.empty();
  ASSERT_EQ(told.prompt_logprobs, started ? alone.prompt_logprobs : std::vector<float>());
  const Receipt& receipt = last.receipt;
  for (const absl::Duration part : {receipt.queue, receipt.prefill, receipt.decode}) {
    ASSERT_GE(part, absl::ZeroDuration());
  }
  ASSERT_LE(told.request.arrival + receipt.queue + receipt.prefill + receipt.decode, now_);
  ASSERT_TRUE(receipt.preemptions > 0 || receipt.recomputed_tokens == 0);
  ASSERT_LT(receipt.cached_tokens, static_cast<int32_t>(told.request.prompt.size()));
  ASSERT_TRUE(told.request.prefix_salt.has_value() || receipt.cached_tokens == 0);
}

void Traffic::Remember(const Told& told) {
  std::vector<TokenId>& text = texts_[random_.Uniform(0, kTexts - 1)];
  text = told.request.prompt;
  const std::vector<TokenId>& answer = told.samples.back().tokens;
  text.insert(text.end(), answer.begin(), answer.end());
}

RequestId Traffic::AnyLive() {
  return std::next(live_.begin(), random_.Uniform(0, static_cast<int32_t>(live_.size()) - 1))->first;
}

void Traffic::Drain() {
  for (const auto& [id, told] : live_) Pause(id, false);
  // Each step computes at least one token; preemptions may repeat some of the work, but never that of the
  // oldest.
  constexpr int32_t kMaxSteps = 50'000;
  for (int32_t i = 0; i < kMaxSteps && !scheduler_.empty(); ++i) RunStep();
  while (scheduler_.num_steps_in_flight() > 0) CommitStep();
  ASSERT_TRUE(live_.empty());
  ASSERT_TRUE(scheduler_.empty());
  ASSERT_EQ(scheduler_.num_free_pages(), scheduler_.num_pages());
  ASSERT_EQ(scheduler_.next_deadline(), absl::InfiniteFuture());
}

}  // namespace ropeway::testing
