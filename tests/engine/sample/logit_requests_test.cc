#include "engine/sample/logit_requests.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(LogitRequestsTest, HasEachTokenOnceWithAllThatIsWantedOfIt) {
  const SamplingParams params;
  const std::vector<TokenId> two = {5, 6}, one = {7};
  StepPlan plan;
  plan.row_starts = {0, 2, 3, 6};
  plan.sample_rows = {{.row = 2, .sample = 0, .params = &params},
                      {.row = 0, .params = &params},
                      {.row = 2, .sample = 1, .params = &params}};
  plan.score_rows = {{.row = 2, .next_tokens = one}, {.row = 0, .next_tokens = two}};
  LogitRequests requests;
  CollectLogitRequests(plan, requests);
  EXPECT_THAT(requests.token_indices, ElementsAre(0, 1, 3, 5));
  const auto is = [](bool is_sample, int32_t index, int32_t position) {
    return ::testing::AllOf(::testing::Field(&LogitRequest::is_sample, is_sample),
                            ::testing::Field(&LogitRequest::index, index),
                            ::testing::Field(&LogitRequest::position, position));
  };
  EXPECT_THAT(requests.Of(0), ElementsAre(is(false, 1, 0)));
  EXPECT_THAT(requests.Of(1), ElementsAre(is(true, 1, 0), is(false, 1, 1)));
  EXPECT_THAT(requests.Of(2), ElementsAre(is(false, 0, 0)));
  EXPECT_THAT(requests.Of(3), ElementsAre(is(true, 0, 0), is(true, 2, 0)));

  CollectLogitRequests({}, requests);
  EXPECT_THAT(requests.all, IsEmpty());
  EXPECT_THAT(requests.token_indices, IsEmpty());
}

}  // namespace
}  // namespace ropeway
