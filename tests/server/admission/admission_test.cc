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
                                        absl::Time now) {
  ASSIGN_OR_RETURN(Admission::Permit permit, admission.TryEnter());
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
  admission.SetMaxRequests(1);
  ASSERT_OK_AND_ASSIGN(const Admission::Permit first, admission.TryEnter());
  EXPECT_THAT(admission.TryEnter(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 1 requests")));
}

TEST(AdmissionTest, APlaceIsTakenOnArrivalAndGivenBackUncharged) {
  Admission admission({.max_requests = 1, .max_tokens = 10});
  {
    ASSERT_OK_AND_ASSIGN(Admission::Permit arrived, admission.TryEnter());
    EXPECT_EQ(admission.live_requests(), 1);
    EXPECT_THAT(admission.TryEnter(),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 1 requests")));
    EXPECT_THAT(admission.TryCharge("a", 11, kStart, arrived),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 10 tokens")));
    EXPECT_OK(admission.TryCharge("a", 10, kStart, arrived)) << "a refused charge costs nothing";
  }
  EXPECT_EQ(admission.live_requests(), 0);
  EXPECT_OK(Admit(admission, "a", 10, kStart));
  EXPECT_OK(admission.TryEnter());
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

TEST(AdmissionTest, RemembersABoundedNumberOfTenants) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 10, .max_tenants = 3});
  for (int i = 0; i < 3; ++i) EXPECT_OK(Admit(admission, absl::StrCat("tenant", i), 5, kStart));
  EXPECT_THAT(Admit(admission, "one too many", 5, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("3 tenants")));
  EXPECT_OK(Admit(admission, "one too many", 5, kStart + absl::Seconds(1)));
}

TEST(AdmissionTest, RefusesAllWhileDraining) {
  Admission admission({});
  ASSERT_OK_AND_ASSIGN(Admission::Permit arrived, admission.TryEnter());
  admission.StartDraining();
  EXPECT_THAT(Admit(admission, "", 1, kStart),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
  EXPECT_THAT(admission.TryCharge("", 1, kStart, arrived),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
}

}  // namespace
}  // namespace ropeway::server
