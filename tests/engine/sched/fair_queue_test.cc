#include "engine/sched/fair_queue.h"

#include <deque>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;

class FairQueueTest : public ::testing::Test {
 protected:
  RequestState& Add(const std::string& tenant, int32_t priority = 0) {
    const uint64_t order = requests_.size();
    RequestState& request = requests_.emplace_back(
        ValidRequest{.id = order, .prompt = {1}, .max_tokens = 1, .tenant = tenant, .priority = priority},
        order, pool_);
    queue_.Join(tenant);
    queue_.Push(request);
    return request;
  }

  // Serves until nothing waits, each request at a cost of `tokens`. Requests keep living. Gives their ids.
  std::vector<RequestId> ServeAll(int64_t tokens) {
    std::vector<RequestId> served;
    while (RequestState* request = queue_.Front()) {
      queue_.Remove(*request);
      queue_.Charge(request->spec.tenant, tokens);
      served.push_back(request->spec.id);
    }
    return served;
  }

  PagePool pool_{1};
  std::deque<RequestState> requests_;
  FairQueue queue_;
};

TEST_F(FairQueueTest, ServesOneTenantByPriorityThenAge) {
  Add("a");
  Add("a", 5);
  Add("a", -5);
  Add("a", 5);
  EXPECT_EQ(queue_.size(), 4);
  EXPECT_THAT(ServeAll(10), ElementsAre(1, 3, 0, 2));
  EXPECT_EQ(queue_.size(), 0);
  EXPECT_EQ(queue_.Front(), nullptr);
}

TEST_F(FairQueueTest, TakesTurnsBetweenTenants) {
  for (int i = 0; i < 3; ++i) Add("flood");
  Add("small");
  Add("small");
  EXPECT_THAT(ServeAll(10), ElementsAre(0, 3, 1, 4, 2));
}

// Priority counts within a tenant alone: it gives nobody more than a share.
TEST_F(FairQueueTest, PriorityDoesNotReachOtherTenants) {
  Add("a");
  Add("b", 100);
  EXPECT_EQ(queue_.Front()->spec.id, 0u);
}

TEST_F(FairQueueTest, TellsHowManyGoFirst) {
  RequestState newcomer(ValidRequest{.id = 9, .prompt = {1}, .max_tokens = 1, .tenant = "c"}, 9, pool_);
  EXPECT_EQ(queue_.AheadOf(newcomer).requests, 0);
  Add("a");
  Add("b");
  Add("b");
  RequestState& third = Add("b");
  // One of each tenant in turn; of its own, those before it.
  EXPECT_EQ(queue_.AheadOf(newcomer).requests, 2);
  EXPECT_EQ(queue_.AheadOf(newcomer).tokens, 2);
  EXPECT_EQ(queue_.AheadOf(newcomer).places, 2);
  EXPECT_EQ(queue_.AheadOf(third).requests, 3);
  EXPECT_EQ(queue_.AheadOf(third).tokens, 3);
  EXPECT_EQ(queue_.AheadOf(third).places, 3);
  // Who was given more comes later, who was given as much does not.
  queue_.Charge("a", 100);
  EXPECT_EQ(queue_.AheadOf(newcomer).requests, 1);
  queue_.Charge("b", 100);
  EXPECT_EQ(queue_.AheadOf(newcomer).requests, 2);
}

TEST_F(FairQueueTest, ServesTheTenantThatWasChargedLeast) {
  Add("a");
  Add("b");
  queue_.Charge("a", 100);
  EXPECT_EQ(queue_.Front()->spec.tenant, "b");
  queue_.Charge("b", 101);
  EXPECT_EQ(queue_.Front()->spec.tenant, "a");
}

TEST_F(FairQueueTest, IdlingSavesNothingUp) {
  Add("busy");
  queue_.Charge("busy", 1000);
  Add("late");
  queue_.Charge("late", 1);  // starts at 1000, not at 0
  EXPECT_EQ(queue_.Front()->spec.tenant, "busy");
}

TEST_F(FairQueueTest, LeavingClearsNoDebt) {
  RequestState& greedy = Add("greedy");
  Add("other");
  queue_.Remove(greedy);
  queue_.Charge("greedy", 1000);
  queue_.Leave("greedy");
  Add("greedy");
  queue_.Charge("other", 500);
  EXPECT_EQ(queue_.Front()->spec.tenant, "other");
}

TEST_F(FairQueueTest, ForgetsTenantsWhoseAccountsSayNothing) {
  RequestState& request = Add("once");
  Add("steady");
  EXPECT_EQ(queue_.num_accounts(), 2);
  queue_.Remove(request);
  queue_.Charge("once", 10);
  queue_.Leave("once");
  EXPECT_EQ(queue_.num_accounts(), 2);  // it is 10 ahead of "steady"
  queue_.Charge("steady", 10);
  RequestState& again = Add("again");
  queue_.Remove(again);
  queue_.Leave("again");
  EXPECT_EQ(queue_.num_accounts(), 1);
  queue_.Remove(*queue_.Front());
  queue_.Leave("steady");
  EXPECT_EQ(queue_.num_accounts(), 0);
}

TEST_F(FairQueueTest, RemovesFromTheMiddle) {
  Add("a");
  RequestState& middle = Add("a");
  Add("a");
  queue_.Remove(middle);
  EXPECT_EQ(queue_.size(), 2);
  EXPECT_THAT(ServeAll(1), ElementsAre(0, 2));
}

}  // namespace
}  // namespace ropeway
