#include "server/admission/admission.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

absl::StatusOr<Admission::Permit> Admit(Admission& admission, absl::string_view tenant, int64_t tokens,
                                        absl::Time now, absl::string_view connection = "here") {
  ASSIGN_OR_RETURN(Admission::Permit permit, admission.TryEnter(connection));
  RETURN_IF_ERROR(admission.TryCharge(tenant, tokens, now, permit));
  return permit;
}

TEST(AdmissionTest, AdmitsUpToTheCapAndAgainAfterARelease) {
  Admission admission({.max_requests = 2});
  ASSERT_OK_AND_ASSIGN(Admission::Permit first, Admit(admission, "a", 10, kStart));
  ASSERT_OK_AND_ASSIGN(Admission::Permit second, Admit(admission, "b", 10, kStart));
  const auto refused = Admit(admission, "a", 10, kStart);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 2 requests")));
  EXPECT_EQ(RetryHint(refused.status()), absl::Seconds(1));
  first = Admission::Permit();
  EXPECT_EQ(admission.live_requests(), 1);
  EXPECT_OK(Admit(admission, "a", 10, kStart));
}

TEST(AdmissionTest, TheCapMayBeSetLater) {
  Admission admission({.max_requests = 2});
  admission.SetLimits({.max_requests = 1});
  ASSERT_OK_AND_ASSIGN(const Admission::Permit first, admission.TryEnter("here"));
  EXPECT_THAT(admission.TryEnter("here"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 1 requests")));
}

TEST(AdmissionTest, APlaceIsTakenOnArrivalAndGivenBackUncharged) {
  Admission admission({.max_requests = 1, .max_tokens = 10});
  {
    ASSERT_OK_AND_ASSIGN(Admission::Permit arrived, admission.TryEnter("here"));
    EXPECT_EQ(admission.live_requests(), 1);
    EXPECT_THAT(admission.TryEnter("here"),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 1 requests")));
    EXPECT_THAT(admission.TryCharge("a", 11, kStart, arrived),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 10 tokens")));
    EXPECT_OK(admission.TryCharge("a", 10, kStart, arrived)) << "a refused charge costs nothing";
  }
  EXPECT_EQ(admission.live_requests(), 0);
  EXPECT_OK(Admit(admission, "a", 10, kStart));
  EXPECT_OK(admission.TryEnter("here"));
  EXPECT_EQ(admission.live_requests(), 0);
}

TEST(AdmissionTest, AMovedPermitIsGivenBackOnce) {
  Admission admission({.max_requests = 1});
  {
    ASSERT_OK_AND_ASSIGN(Admission::Permit permit, Admit(admission, "", 1, kStart));
    Admission::Permit moved = std::move(permit);
    EXPECT_TRUE(moved.held());
    EXPECT_EQ(admission.live_requests(), 1);
  }
  EXPECT_EQ(admission.live_requests(), 0);
}

TEST(AdmissionTest, CapsTokensOfLivingRequests) {
  Admission admission({.max_tokens = 100});
  ASSERT_OK_AND_ASSIGN(const Admission::Permit permit, Admit(admission, "", 60, kStart));
  EXPECT_THAT(Admit(admission, "", 41, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("60 tokens")));
  EXPECT_OK(Admit(admission, "", 40, kStart));
  EXPECT_THAT(Admit(admission, "", 101, kStart),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 100 tokens, are 101")));
}

TEST(AdmissionTest, CapsTheRequestsOfOneTenantOnly) {
  Admission admission({.max_tenant_requests = 1});
  ASSERT_OK_AND_ASSIGN(const Admission::Permit permit, Admit(admission, "loud", 1, kStart));
  EXPECT_THAT(Admit(admission, "loud", 1, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tenant has 1 living")));
  EXPECT_OK(Admit(admission, "quiet", 1, kStart));
}

TEST(AdmissionTest, ABudgetRefillsWithTimeAndTheHintSaysWhen) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 100});
  EXPECT_OK(Admit(admission, "a", 95, kStart));
  const auto refused = Admit(admission, "a", 30, kStart);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("budget is spent")));
  EXPECT_EQ(RetryHint(refused.status()), absl::Milliseconds(2500));
  EXPECT_FALSE(Admit(admission, "a", 30, kStart + absl::Milliseconds(2499)).ok());
  EXPECT_OK(Admit(admission, "a", 30, kStart + absl::Milliseconds(2500)));
  EXPECT_OK(Admit(admission, "b", 100, kStart));
  EXPECT_THAT(Admit(admission, "b", 101, kStart),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 100 tokens")));
}

TEST(AdmissionTest, WhoComesWhenTheHintSaysGetsIn) {
  for (int64_t rate = 1; rate <= 500; ++rate)
    for (const int64_t tokens : {1, 3, 77, 500}) {
      Admission admission({.tenant_tokens_per_second = rate, .tenant_burst_tokens = 500});
      EXPECT_OK(Admit(admission, "a", 500, kStart));
      const auto hint = RetryHint(Admit(admission, "a", tokens, kStart).status());
      ASSERT_TRUE(hint) << rate;
      ASSERT_OK(Admit(admission, "a", tokens, kStart + *hint)) << rate << " " << tokens;
    }
}

// What was charged beyond what was computed is given back: cached tokens, an answer that ended early, a prompt that
// was never computed.
TEST(AdmissionTest, ABudgetPaysForWhatIsComputed) {
  Admission admission({.max_tokens = 1000, .tenant_tokens_per_second = 10, .tenant_burst_tokens = 100});
  ASSERT_OK_AND_ASSIGN(Admission::Permit short_answer, Admit(admission, "a", 90, kStart));
  EXPECT_FALSE(Admit(admission, "a", 20, kStart).ok());
  short_answer.ReleasePlace(/*spent_tokens=*/30);
  short_answer.ReleasePlace(/*spent_tokens=*/0);  // of no effect
  ASSERT_OK_AND_ASSIGN(Admission::Permit rest, Admit(admission, "a", 70, kStart));
  EXPECT_FALSE(Admit(admission, "a", 1, kStart).ok());
  rest.ReleasePlace(/*spent_tokens=*/500);  // more than was charged costs no more
  EXPECT_FALSE(Admit(admission, "a", 1, kStart).ok());
  EXPECT_OK(Admit(admission, "a", 50, kStart + absl::Seconds(5)));
}

// As far as anybody knows all of it was spent.
TEST(AdmissionTest, ACallThatTellsNothingPaysInFull) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 100});
  ASSERT_OK_AND_ASSIGN(Admission::Permit permit, Admit(admission, "a", 60, kStart));
  permit.ReleasePlace();
  EXPECT_FALSE(Admit(admission, "a", 41, kStart).ok());
}

TEST(AdmissionTest, NoBudgetGrowsBeyondItsBurst) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 100});
  const absl::Time later = kStart + absl::Seconds(60);
  ASSERT_OK_AND_ASSIGN(Admission::Permit permit, Admit(admission, "a", 90, kStart));
  EXPECT_OK(admission.Check("here", "a", 100, later));  // refilled
  permit.ReleasePlace(/*spent_tokens=*/0);              // and given back
  EXPECT_OK(Admit(admission, "a", 100, later));
  EXPECT_FALSE(Admit(admission, "a", 1, later).ok());
}

TEST(AdmissionTest, CheckSaysWhatWouldHappenAndTakesNothing) {
  Admission admission({.max_requests = 2,
                       .max_tokens = 150,
                       .max_tenant_requests = 1,
                       .tenant_tokens_per_second = 10,
                       .tenant_burst_tokens = 100});
  for (int i = 0; i < 5; ++i) EXPECT_OK(admission.Check("here", "a", 100, kStart));
  EXPECT_EQ(admission.live_requests(), 0);
  EXPECT_THAT(admission.Check("here", "a", 101, kStart),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("101")));
  ASSERT_OK_AND_ASSIGN(const Admission::Permit permit, Admit(admission, "a", 90, kStart));
  EXPECT_THAT(admission.Check("here", "a", 1, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tenant has 1")));
  EXPECT_THAT(admission.Check("here", "b", 61, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("90 tokens of living")));
  EXPECT_OK(admission.Check("here", "b", 60, kStart));
  ASSERT_OK_AND_ASSIGN(const Admission::Permit last, admission.TryEnter("here"));
  EXPECT_THAT(admission.Check("here", "b", 1, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 2")));
  admission.StartDraining();
  EXPECT_THAT(admission.Check("here", "b", 1, kStart),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
}

TEST(AdmissionTest, RemembersABoundedNumberOfTenants) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 10, .max_tenants = 3});
  for (int i = 0; i < 3; ++i) EXPECT_OK(Admit(admission, absl::StrCat("tenant", i), 5, kStart));
  EXPECT_THAT(Admit(admission, "one too many", 5, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("3 tenants")));
  EXPECT_OK(Admit(admission, "one too many", 5, kStart + absl::Seconds(1)));
}

TEST(AdmissionTest, ThePlaceIsFreeBeforeTheCallIsOver) {
  Admission admission({.max_requests = 1, .max_tokens = 10, .max_tenant_requests = 1});
  ASSERT_OK_AND_ASSIGN(Admission::Permit unread, Admit(admission, "a", 10, kStart));
  unread.ReleasePlace();
  EXPECT_EQ(admission.live_requests(), 0);
  EXPECT_EQ(admission.open_calls(), 1);
  EXPECT_FALSE(admission.WaitUntilIdle(absl::ZeroDuration()));
  EXPECT_OK(Admit(admission, "a", 10, kStart));
  unread.ReleasePlace();
  unread = Admission::Permit();
  EXPECT_EQ(admission.live_requests(), 0);
  EXPECT_TRUE(admission.WaitUntilIdle(absl::ZeroDuration()));
}

TEST(AdmissionTest, AConnectionThatReadsNothingIsRefusedAndOthersAreNot) {
  Admission admission({.max_requests = 100, .max_connection_requests = 3});
  std::vector<Admission::Permit> unread;
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(Admission::Permit permit, Admit(admission, "", 1, kStart, "deaf"));
    permit.ReleasePlace();
    unread.push_back(std::move(permit));
  }
  const auto refused = Admit(admission, "", 1, kStart, "deaf");
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("connection has 3 calls")));
  EXPECT_EQ(RetryHint(refused.status()), absl::Seconds(1));
  EXPECT_OK(Admit(admission, "", 1, kStart, "other"));
  unread.pop_back();
  EXPECT_OK(Admit(admission, "", 1, kStart, "deaf"));
}

TEST(AdmissionTest, OneConnectionOrTenantCannotHoldAllPlaces) {
  Admission admission({.max_requests = 4, .reserved_requests = 2});
  std::vector<Admission::Permit> held;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(held.emplace_back(), Admit(admission, "hog", 1, kStart, "big"));
  }
  EXPECT_THAT(admission.TryEnter("big"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 4 requests")));
  EXPECT_THAT(Admit(admission, "hog", 1, kStart, "small"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")))
      << "the tenant is the same";
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(held.emplace_back(), Admit(admission, "", 1, kStart, absl::StrCat("small", i)));
  }
  EXPECT_THAT(admission.TryEnter("another"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
}

TEST(AdmissionTest, RefusesAllWhileDraining) {
  Admission admission({});
  ASSERT_OK_AND_ASSIGN(Admission::Permit arrived, admission.TryEnter("here"));
  admission.StartDraining();
  EXPECT_THAT(Admit(admission, "", 1, kStart),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
  EXPECT_THAT(admission.TryCharge("", 1, kStart, arrived),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
}

}  // namespace
}  // namespace ropeway::server
