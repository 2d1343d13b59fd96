// How much is computed where prompts begin alike. That it is right whatever happens is tests/sim's business.
#include <cstdint>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/sched/scheduler.h"
#include "gtest/gtest.h"
#include "tests/testing/fake_executor.h"

namespace ropeway::testing {
namespace {

constexpr ExecutorLimits kLimits = {.num_pages = 256,
                                    .max_tokens_per_step = 64,
                                    .max_rows_per_step = 16,
                                    .max_model_len = 2000,
                                    .vocab_size = 1000};
constexpr PrefixSalt kSalt = {3, 4};

// By steps in flight.
class SchedulerPrefixTest : public ::testing::TestWithParam<int32_t> {
 protected:
  static ExecutorLimits Limits() {
    ExecutorLimits limits = kLimits;
    limits.max_steps_in_flight = GetParam();
    return limits;
  }

  // A request whose prompt is `shared` tokens that all have in common and `own` ones of its own.
  ValidRequest Request(int32_t shared, int32_t own, std::optional<PrefixSalt> salt = kSalt) {
    ValidRequest request = {.id = next_id_++, .max_tokens = 4, .tenant = "t", .prefix_salt = salt};
    request.prompt.resize(shared);
    std::iota(request.prompt.begin(), request.prompt.end(), 0);
    for (int32_t i = 0; i < own; ++i)
      request.prompt.push_back(static_cast<TokenId>(900 - request.id * 7 - i % 7));
    return request;
  }

  void Add(ValidRequest request) { ASSERT_TRUE(scheduler_.Add(std::move(request), absl::UnixEpoch()).ok()); }

  // Runs until nothing lives; returns the tokens that were computed.
  int32_t Run() {
    int32_t computed = 0;
    while (!scheduler_.empty() || scheduler_.num_steps_in_flight() > 0) {
      computed += Step();
      scheduler_.CheckInvariants();
      for (const TokenEvent& event : scheduler_.TakeEvents()) {
        if (event.token != kNoToken) tokens_[event.request_id].push_back(event.token);
        if (!event.request_done) continue;
        cached_[event.request_id] = event.receipt.cached_tokens;
        paid_[event.request_id] = event.receipt.computed_tokens;
      }
    }
    return computed;
  }

  // Plans a step and waits for the oldest one where there are as many as may be. Returns the tokens that it planned.
  int32_t Step() {
    const StepPlan plan = scheduler_.Plan(absl::UnixEpoch());
    if (!plan.empty()) executor_.Submit(plan);
    if (plan.empty() || scheduler_.num_steps_in_flight() == GetParam())
      scheduler_.Commit(executor_.Collect(), absl::UnixEpoch());
    return plan.num_tokens();
  }

  static constexpr int32_t kDecoded = 3;  // tokens computed after the prompt, of four generated

  FakeExecutor executor_{Limits()};
  Scheduler scheduler_{{}, Limits()};
  std::map<RequestId, int32_t> cached_;
  std::map<RequestId, int64_t> paid_;
  std::map<RequestId, std::vector<TokenId>> tokens_;  // of answers
  RequestId next_id_ = 0;
};

TEST_P(SchedulerPrefixTest, ComputesASharedBeginningOnce) {
  Add(Request(320, 10));
  EXPECT_EQ(Run(), 330 + kDecoded);
  Add(Request(320, 20));
  EXPECT_EQ(Run(), 20 + kDecoded);
  EXPECT_EQ(cached_[1], 320);
}

// Four at once go on in single file until they part, and side by side from then on.
TEST_P(SchedulerPrefixTest, ThoseThatComeTogetherComputeItOnceToo) {
  for (int i = 0; i < 4; ++i) Add(Request(320, 30));
  EXPECT_EQ(Run(), 320 + 4 * (30 + kDecoded));
  EXPECT_EQ(
      std::accumulate(cached_.begin(), cached_.end(), 0, [](int sum, auto& c) { return sum + c.second; }),
      3 * 320);
}

// The last token is computed in any case, since its logits are wanted: here with the rest of its page.
TEST_P(SchedulerPrefixTest, ComputesTheLastPageOfAPromptThatIsWhollyKnown) {
  Add(Request(320, 0));
  Run();
  Add(Request(320, 0));
  EXPECT_EQ(Run(), 16 + kDecoded);
  EXPECT_EQ(cached_[1], 304);
}

TEST_P(SchedulerPrefixTest, FindsAnswersToo) {
  ValidRequest first = Request(40, 0);
  first.max_tokens = 60;
  std::vector<TokenId> talk = first.prompt;
  Add(std::move(first));
  Run();
  talk.insert(talk.end(), tokens_[0].begin(), tokens_[0].end());
  ASSERT_EQ(talk.size(), 100u);
  ValidRequest second = Request(0, 0);
  second.prompt = talk;
  Add(std::move(second));
  EXPECT_EQ(Run(), 4 + kDecoded);  // 99 tokens were computed, which are six whole pages
  EXPECT_EQ(cached_[1], 96);
}

TEST_P(SchedulerPrefixTest, SharesNothingWithOtherSaltsOrWithout) {
  for (const std::optional<PrefixSalt>& salt :
       {std::optional<PrefixSalt>(kSalt), std::optional<PrefixSalt>(PrefixSalt{3, 5}),
        std::optional<PrefixSalt>(), std::optional<PrefixSalt>()}) {
    Add(Request(320, 10, salt));
    EXPECT_EQ(Run(), 330 + kDecoded);
  }
  EXPECT_EQ(scheduler_.num_cached_pages(), 2 * 20);
}

// The row in flight behind an end token would have filled the second page: it is neither found nor paid for.
TEST_P(SchedulerPrefixTest, WhatIsComputedBehindAnEndIsOfNoEffect) {
  constexpr TokenId kEnd = 77;
  executor_.SetChooser([](const SampleRow& row) { return row.step == 1 ? kEnd : 5; });
  ValidRequest request = Request(30, 0);
  request.stop_token_ids = {kEnd};
  Add(std::move(request));
  const int32_t late = GetParam() - 1;
  EXPECT_EQ(Run(), 30 + 1 + late);
  EXPECT_EQ(tokens_[0], (std::vector<TokenId>{5, kEnd}));
  EXPECT_EQ(paid_[0], 30 + 2);
  EXPECT_EQ(scheduler_.num_prefix_pages(), 1);
  EXPECT_EQ(scheduler_.num_free_pages(), scheduler_.num_pages());
}

// A failed step takes its pages out of the cache: what they held is lost.
TEST_P(SchedulerPrefixTest, ForgetsThePagesOfAFailedStep) {
  Add(Request(320, 10));
  Run();
  Add(Request(320, 20));
  executor_.FailNextStep(absl::InternalError("as the test wants"));
  Run();
  Add(Request(320, 30));
  EXPECT_EQ(Run(), 350 + kDecoded);
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, SchedulerPrefixTest, ::testing::Range(1, kMaxStepsInFlight + 1));

}  // namespace
}  // namespace ropeway::testing
