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

class SchedulerPrefixTest : public ::testing::Test {
 protected:
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
    while (!scheduler_.empty()) {
      const StepPlan plan = scheduler_.Plan(absl::UnixEpoch());
      computed += plan.num_tokens();
      scheduler_.Commit(executor_.Step(plan), absl::UnixEpoch());
      scheduler_.CheckInvariants();
      for (const TokenEvent& event : scheduler_.TakeEvents())
        if (event.request_done) cached_[event.request_id] = event.receipt.cached_tokens;
    }
    return computed;
  }

  static constexpr int32_t kDecoded = 3;  // tokens computed after the prompt, of four generated

  FakeExecutor executor_{kLimits};
  Scheduler scheduler_{{}, kLimits};
  std::map<RequestId, int32_t> cached_;
  RequestId next_id_ = 0;
};

TEST_F(SchedulerPrefixTest, ComputesASharedBeginningOnce) {
  Add(Request(320, 10));
  EXPECT_EQ(Run(), 330 + kDecoded);
  Add(Request(320, 20));
  EXPECT_EQ(Run(), 20 + kDecoded);
  EXPECT_EQ(cached_[1], 320);
}

// Four at once go on in single file until they part, and side by side from then on.
TEST_F(SchedulerPrefixTest, ThoseThatComeTogetherComputeItOnceToo) {
  for (int i = 0; i < 4; ++i) Add(Request(320, 30));
  EXPECT_EQ(Run(), 320 + 4 * (30 + kDecoded));
  EXPECT_EQ(
      std::accumulate(cached_.begin(), cached_.end(), 0, [](int sum, auto& c) { return sum + c.second; }),
      3 * 320);
}

// The last token is computed in any case, since its logits are wanted: here with the rest of its page.
TEST_F(SchedulerPrefixTest, ComputesTheLastPageOfAPromptThatIsWhollyKnown) {
  Add(Request(320, 0));
  Run();
  Add(Request(320, 0));
  EXPECT_EQ(Run(), 16 + kDecoded);
  EXPECT_EQ(cached_[1], 304);
}

TEST_F(SchedulerPrefixTest, FindsAnswersToo) {
  ValidRequest first = Request(40, 0);
  first.max_tokens = 60;
  std::vector<TokenId> talk = first.prompt;
  Add(std::move(first));
  while (!scheduler_.empty()) {
    scheduler_.Commit(executor_.Step(scheduler_.Plan(absl::UnixEpoch())), absl::UnixEpoch());
    for (const TokenEvent& event : scheduler_.TakeEvents()) talk.push_back(event.token);
  }
  ASSERT_EQ(talk.size(), 100u);
  ValidRequest second = Request(0, 0);
  second.prompt = talk;
  Add(std::move(second));
  EXPECT_EQ(Run(), 4 + kDecoded);  // 99 tokens were computed, which are six whole pages
  EXPECT_EQ(cached_[1], 96);
}

TEST_F(SchedulerPrefixTest, SharesNothingWithOtherSaltsOrWithout) {
  for (const std::optional<PrefixSalt>& salt :
       {std::optional<PrefixSalt>(kSalt), std::optional<PrefixSalt>(PrefixSalt{3, 5}),
        std::optional<PrefixSalt>(), std::optional<PrefixSalt>()}) {
    Add(Request(320, 10, salt));
    EXPECT_EQ(Run(), 330 + kDecoded);
  }
  EXPECT_EQ(scheduler_.num_cached_pages(), 2 * 20);
}

// A failed step takes its pages out of the cache: what they held is lost.
TEST_F(SchedulerPrefixTest, ForgetsThePagesOfAFailedStep) {
  Add(Request(320, 10));
  Run();
  Add(Request(320, 20));
  executor_.FailNextStep(absl::InternalError("as the test wants"));
  Run();
  Add(Request(320, 30));
  EXPECT_EQ(Run(), 350 + kDecoded);
}

}  // namespace
}  // namespace ropeway::testing
